"""Strings in the space of their principal components: positions, colours and steps."""

from __future__ import annotations

import dataclasses
import math
import shutil
from itertools import pairwise

import numpy as np
import pytest
import torch
from matplotlib.animation import FFMpegWriter
from PIL import Image, ImageSequence

import thalweg
from tests.helpers import random_stack, toy_classifier
from thalweg.connect import Connection, Outcome
from thalweg.plots import (
    animate_string,
    compute_string,
    render,
    string_figure,
    string_table,
    write_figure,
)
from thalweg.plots.string import snapshots


@pytest.fixture(scope="module")
def connection() -> Connection:
    objective = toy_classifier(3)
    a, b = thalweg.train(objective, list(3 * random_stack(objective, 2, 3)), 0.18)
    found = thalweg.connect(objective, a.theta, b.theta, threshold=0.2, profile_points=17)
    assert found.beads >= 2
    return found


@pytest.fixture(scope="module")
def info(connection):
    return compute_string(connection)


def test_distances_in_the_picture_are_those_of_the_models_up_to_what_is_left_out(connection, info):
    points = connection.path.points.double()
    models = np.array(info.models)
    for i in range(len(models)):
        for j in range(i):
            shown = np.linalg.norm(models[i] - models[j])
            assert shown <= float((points[i] - points[j]).norm()) + 1e-6
    assert sum(info.explained) <= 1 + 1e-12
    assert info.explained[0] >= info.explained[1] >= info.explained[2] >= 0
    centred = points - points.mean(0)
    whole = float(centred.square().sum())
    assert np.square(models).sum() / whole == pytest.approx(sum(info.explained))


def test_every_step_is_a_whole_string_from_a_to_b_through_its_beads(connection, info):
    assert info.steps == connection.beads
    for step in range(info.steps + 1):
        there = info.at(step)
        assert len(there) == step + 1
        assert there[0].left == 0
        assert there[-1].right == connection.beads + 1
        for one, two in pairwise(there):
            assert one.right == two.left
            assert one.points[-1] == pytest.approx(two.points[0])
        inner = {stretch.right for stretch in there[:-1]}
        assert inner == set(connection.history[:step])
        for stretch in there:
            ends = info.models[stretch.left], info.models[stretch.right]
            assert stretch.points[0] == pytest.approx(ends[0], abs=1e-9)
            assert stretch.points[-1] == pytest.approx(ends[1], abs=1e-9)


def test_the_values_are_those_of_the_profile(connection, info):
    final = [value for stretch in info.at(info.steps) for value in stretch.values]
    assert set(final) == set(connection.profile.values["loss/train"])
    assert max(v for v in info.at(0)[0].values) == info.high > info.threshold
    assert info.at(0)[0].values == connection.profile.replaced[0]


def test_the_table_holds_every_point(info):
    table = string_table(info)
    assert len(table.rows) == sum(len(s.points) for s in info.stretches)
    assert table.columns[-1] == "loss on train"
    last = [row for row in table.rows if row[1] == info.steps]
    assert len(last) == sum(len(s.points) for s in info.at(info.steps))
    assert len(table.csv().splitlines()) == len(table.rows) + 1


def test_snapshots_are_drawn_and_end_with_the_finished_string(info, tmp_path):
    figure = string_figure(info)
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert len(titles) == len(snapshots(info)) <= 4
    assert titles[-1] == f"{info.steps} beads: finished"
    write_figure(figure, tmp_path / "string.svg")
    drawn = (tmp_path / "string.svg").read_text()
    assert "PC 1" in drawn
    assert render(string_figure(info), "svg").decode() == drawn


def test_colours_go_from_blue_at_the_threshold_to_red_at_the_highest(info):
    lines = string_figure(info, [0]).axes[0].collections[0]
    colors = np.asarray(lines.get_edgecolor())
    values = info.at(0)[0].values
    highest = int(np.argmax([max(a, b) for a, b in pairwise(values)]))
    red, _, blue, _ = colors[highest]
    assert red > 0.8 > 0.3 > blue
    low = string_figure(info, [info.steps]).axes[0].collections[0].get_edgecolor()
    assert (np.asarray(low)[:, 2] > np.asarray(low)[:, 0]).all(), "all of it is at or below L0"


def test_one_bead_and_none_are_pictures_too(connection):
    objective = toy_classifier(3)
    a = connection.path.points[0]
    straight = thalweg.connect(objective, a, a + 1e-3, threshold=0.3, profile_points=5)
    info = compute_string(straight)
    assert info.steps == 0
    assert info.explained == (pytest.approx(1), 0, 0)
    render(string_figure(info), "png")


def test_a_history_that_is_not_known_leaves_the_finished_string(connection):
    info = compute_string(dataclasses.replace(connection, history=()))
    assert info.steps == 0
    assert len(info.at(0)) == connection.beads + 1


def test_values_that_are_not_finite_and_an_unfinished_string_are_drawn(connection):
    profile = connection.profile
    holes = (None, *profile.values["loss/train"][1:])
    other = dataclasses.replace(
        connection,
        outcome=Outcome.BEAD_STALLED,
        profile=dataclasses.replace(profile, values={**profile.values, "loss/train": holes}),
    )
    info = compute_string(other)
    figure = string_figure(info)
    assert "as far as it came" in [axes.get_title() for axes in figure.axes][-2]
    render(figure, "png")


def test_a_bezier_curve_is_projected_by_its_points(connection):
    points = connection.path.points
    curve = thalweg.Bezier(torch.stack([points[0], points[1], points[-1]]), connection.path.layout)
    profile = thalweg.profile(toy_classifier(3), curve, 9)
    other = dataclasses.replace(connection, path=curve, profile=profile)
    info = compute_string(other)
    assert (len(info.models), info.steps, len(info.stretches)) == (2, 0, 1)
    assert len(info.stretches[0].points) == len(profile.t)
    assert info.explained[2] == pytest.approx(0, abs=1e-9), "three control points span a plane"


def test_without_a_profile_there_is_a_sentence(connection):
    with pytest.raises(thalweg.InputError, match="--profile-points"):
        compute_string(dataclasses.replace(connection, profile=None))


def test_the_animation_has_a_frame_a_step(info, tmp_path):
    animate_string(info, tmp_path / "string.gif")
    with Image.open(tmp_path / "string.gif") as movie:
        frames = [frame.convert("RGB").tobytes() for frame in ImageSequence.Iterator(movie)]
    assert len(set(frames)) == info.steps + 1
    assert [file.name for file in tmp_path.iterdir()] == ["string.gif"]


def test_an_mp4_needs_ffmpeg_and_says_so(info, tmp_path, monkeypatch):
    monkeypatch.setattr(FFMpegWriter, "isAvailable", classmethod(lambda cls: False))
    with pytest.raises(thalweg.InputError, match=r"install ffmpeg, or name the file \.gif"):
        animate_string(info, tmp_path / "string.mp4")
    with pytest.raises(thalweg.InputError, match=r"\.gif, \.mp4"):
        animate_string(info, tmp_path / "string.avi")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")
def test_an_mp4_is_written_where_ffmpeg_is(info, tmp_path):
    animate_string(info, tmp_path / "string.mp4")
    assert b"ftyp" in (tmp_path / "string.mp4").read_bytes()[:16]
    assert math.isfinite(info.high)
