"""The commands that draw: pictures, tables beside them, values to go on from."""

from __future__ import annotations

import csv
import shutil

import pytest
import torch

import thalweg
from thalweg.cli.pictures import parse_extent, parse_shape
from thalweg.tasks import get_task


def rows(file):
    with file.open() as content:
        return list(csv.DictReader(content))


def test_a_surface_is_drawn_with_its_numbers_and_goes_on_from_them(run, ends, tmp_path):
    command = ("surface", ends[0], "--task", "digits", "--shape", "7x5", "--measures",
               "loss,error_rate", "--out", "s.png", "--json")  # fmt: skip
    document = run(*command).document
    assert document["files"] == ["s.png", "s.csv", "s-positions.csv", "s.values.safetensors"]
    assert [axis["points"] for axis in document["axes"]] == [7, 5]
    table = rows(tmp_path / "s.csv")
    assert len(table) == 35
    objective = get_task("digits").build(None)
    middle = min(table, key=lambda row: sum(abs(float(x)) for x in list(row.values())[:2]))
    expected = objective.criterion_of(objective.theta(ends[0])[None]).values.item()
    assert float(middle["loss on train"]) == pytest.approx(expected, rel=1e-5)
    before = (tmp_path / "s.csv").read_bytes()
    again = run(*command)
    assert again.document == document
    assert (tmp_path / "s.csv").read_bytes() == before


def test_a_connection_gets_the_plane_through_a_bead_in_its_folder(run, made, tmp_path):
    shutil.copytree(made / "connection", tmp_path / "c")
    result = run("plane", "c", "--shape", "9", "--json").document
    assert [mark["name"] for mark in result["marks"]][:2] == ["A", "B"]
    assert result["marks"][0]["position"] == pytest.approx([0, 0], abs=1e-6)
    assert result["marks"][2]["distance"] == pytest.approx(0, abs=1e-4)
    assert result["threshold"] == 0.1
    positions = rows(tmp_path / "c" / "plane-positions.csv")
    connection = thalweg.load_connection(tmp_path / "c")
    assert sum(row["what"] == "bead" for row in positions) == connection.beads + 2
    connection.save(tmp_path / "c")
    assert not (tmp_path / "c" / "plane.png").exists(), "another connection has another plane"
    run("plane", "c", "--bead", "99").refuses("bead from 1 to")


def test_three_checkpoints_span_a_plane(run, ends, made):
    bead = thalweg.load_connection(made / "connection").path.points[1]
    objective = get_task("digits").build(None)
    thalweg.save_checkpoint("bead.safetensors", objective.state_dict(bead))
    result = run("plane", *ends, "bead.safetensors", "--task", "digits", "--shape", "5", "--out",
                 "p.svg", "--style", "contour")  # fmt: skip
    assert result.status == 0
    assert "5 x 5 points" in result.out
    run("plane", *ends, ends[0], "--task", "digits", "--out", "p.svg").refuses("on one line")
    run("plane", *ends, "--task", "digits").refuses("three checkpoints, got 2")
    run("plane", *ends, ends[0], "--task", "digits").refuses("--out FILE")


def test_a_trajectory_is_drawn_over_its_surface(run, tmp_path):
    task = get_task("digits-small")
    objective = task.build(None)
    model = task.initialize(torch.Generator().manual_seed(0))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trajectory = thalweg.Trajectory(model, every=2)
    (inputs,), target = objective.splits["train"].inputs, objective.splits["train"].target
    for _ in range(8):
        trajectory()
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(inputs), target).backward()
        optimizer.step()
    trajectory.record()
    trajectory.save("t.safetensors")
    result = run("trajectory", "t.safetensors", "--task", "digits-small", "--shape", "6", "--out",
                 "t.png", "--json").document  # fmt: skip
    assert [mark["name"] for mark in result["marks"]] == ["step 0", "step 8"]
    assert result["marks"][1]["position"] == pytest.approx([0, 0], abs=1e-6)
    assert len(rows(tmp_path / "t-positions.csv")) == 2 + len(trajectory.steps)


@pytest.mark.parametrize("what", ["profile", "string"])
def test_a_connection_is_plotted_for_a_paper(run, made, tmp_path, what):
    result = run("plot", made / "connection", "--what", what, "--out", "fig.pdf")
    assert result.status == 0, result
    assert (tmp_path / "fig.pdf").read_bytes().startswith(b"%PDF")
    assert any(name.startswith("loss on train") for name in rows(tmp_path / "fig.csv")[0])


def test_a_plane_is_plotted_again_in_another_style(run, made, tmp_path):
    shutil.copytree(made / "connection", tmp_path / "c")
    run("plot", "c", "--what", "plane", "--out", "p.png").refuses("thalweg plane c")
    run("plane", "c", "--shape", "5")
    assert run("plot", "c", "--what", "plane", "--style", "contour", "--out", "p.pdf").status == 0
    source = tmp_path / "c" / "plane.values.safetensors"
    assert run("plot", source, "--style", "relief", "--out", "r.svg").status == 0
    assert len(rows(tmp_path / "r.csv")) == 25


def test_what_cannot_be_drawn_is_refused_before_anything_is_computed(run, ends, made):
    surface = ("surface", ends[0], "--task", "digits", "--out")
    run(*surface, "s.gif").refuses(".png, .svg, .pdf")
    run(*surface, "s.png", "--style", "globe").refuses("heat, contour, relief")
    run(*surface, "s.png", "--shape", "1").refuses("at least 2")
    run(*surface, "s.png", "--shape", "3x4x5").refuses("51x31")
    run(*surface, "s.png", "--extent", "a").refuses("extent")
    run(*surface, "s.png", "--directions", "north").refuses("random or hessian")
    run(*surface, "s.png", "--normalization", "batch").refuses("filter, layer, none")
    run(*surface, "s.png", "--measures", "accuracy").refuses("error_rate")
    run(*surface, "s.png", "--direction", "none.safetensors").refuses("none.safetensors")
    run("plot", made / "connection", "--what", "profile", "--out", "x.gif").refuses("string")
    run("plot", made / "connection", "--what", "map", "--out", "x.png").refuses("profile, string")
    run("plot", "nowhere", "--out", "x.png").refuses("connection's folder")
    run("trajectory", "none.safetensors", "--task", "digits", "--out", "x.png").refuses("a path at")


def test_shapes_and_extents():
    assert parse_shape("51x31") == (51, 31)
    assert parse_extent("-0.5,1,0,2") == (-0.5, 1, 0, 2)
