"""``thalweg study``: from a run to its table and picture, and what it refuses."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

TOY = Path(__file__).parents[1] / "study" / "toy.py"
SPECIFICATION = f"""
pairs = 2
[[problems]]
label = "toy"
problem = "{TOY}:problem"
thresholds = [0.3]
"""


@pytest.fixture
def done(run):
    """A study that has been run, in studies.db."""
    Path("toy.toml").write_text(SPECIFICATION)
    result = run("study", "run", "toy.toml", "--threads", 1, "--json")
    assert result.status == 0, result.err
    return result


def test_a_run_says_what_it_did(run, done):
    document = done.document
    assert (document["study"], document["done"], document["total"]) == ("toy", 2, 2)
    again = run("study", "run", "toy.toml", "--threads", 1)
    assert again.status == 0
    assert "2 of 2 cells have a result" in again.out
    assert "2 of 2" in again.out


def test_a_study_is_extended_by_options(run, done):
    result = run("study", "run", "toy.toml", "--thresholds", "0.4,0.3", "--pairs", 3,
                 "--protocol", "strict,paper", "--threads", 1, "--json")  # fmt: skip
    assert result.document["done"] == result.document["total"] == 12
    shown = run("study", "show", "toy.toml", "--protocol", "paper", "--json").document
    assert [(level["threshold"], level["pairs"]) for level in shown["levels"]] == [
        (0.4, 3), (0.3, 3)
    ]  # fmt: skip
    assert all(level["beads"]["value"] >= 1 for level in shown["levels"]), "midpoints are inserted"


def test_show_export_plot_and_list(run, done):
    assert "2 of 2" in run("study", "show", "toy").out
    result = run("study", "export", "toy", "--csv", "t.csv", "--parquet", "t.parquet", "--json")
    assert result.document == {"rows": 2, "files": ["t.csv", "t.parquet"]}
    with Path("t.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["outcome"] for row in rows] == ["connected"] * 2
    assert all(float(row["max_criterion_bound"]) <= 0.3 for row in rows)
    for source in ("toy", "t.csv"):
        document = run("study", "plot", source, "--out", "f.png", "--json").document
        assert document["series"][0]["points"][0]["connected"] == 2
    assert Path("f.png").read_bytes().startswith(b"\x89PNG")
    listed = run("study", "list", "--json").document
    assert listed["store"]["toy"]["done"] == 2
    assert "figure1-cubic" in [study["name"] for study in listed["studies"]]
    assert "toy" in run("study", "list").out


def test_verify_reads_the_paths_that_a_study_keeps(run):
    result = run("study", "run", "figure1-quadratic", "--pairs", 1, "--thresholds", "0.125",
                 "--data", "quadrature", "--threads", 1, "--json")  # fmt: skip
    assert result.status == 0, result.err
    (folder,) = Path("studies.db.files/paths").iterdir()
    verified = run("verify", folder, "--json")
    assert verified.status == 0, verified.err
    assert verified.document["proved_again"] > 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "figure2"), ["figure1-quadratic", "'figure2'"]),
        (("run", "figure1-cubic", "--thresholds", "0.1;0.2"), ["0.1,0.05", "0.1;0.2"]),
        (("run", "figure1-cubic", "--protocol", "lax"), ["protocols"]),
        (("run", "figure1-cubic", "--pairs", "0"), ["--pairs"]),
        (("run", "figure1-cubic", "--store", "no/where.db"), ["no folder to put it in"]),
        (("run", "figure1-cubic", "--store", "mysql://a/b"), ["a mysql URL"]),
        (("run", "figure1-cubic", "--resource", "GPU"), ["NAME=N", "'GPU'"]),
        (("run", "figure1-mnist", "--data", "quadrature"), ["no options", "'data'"]),
        (("run", "figure1-mnist"), ["a folder of data sets", "THALWEG_DATA"]),
        (("show", "figure1-cubic"), ["a store at studies.db", "no such file"]),
        (("export", "figure1-cubic"), ["--csv", "neither"]),
        (("export", "figure1-cubic", "--csv", "x.txt"), [".csv for --csv"]),
        (("plot", "none.csv", "--out", "f.png"), ["a table of a study at none.csv"]),
        (("frobnicate",), ["frobnicate", "thalweg study --help"]),
    ],
)
def test_bad_input_is_one_sentence(run, arguments, words):
    run("study", *arguments).refuses(*words)


def test_a_study_that_the_store_does_not_have(run, done):
    run("study", "show", "figure1-cubic").refuses("toy", "'figure1-cubic'")
    run("study", "plot", "figure1-cubic", "--out", "f.png").refuses("toy")
    Path("toy.toml").write_text(SPECIFICATION + "[limits]\nsteps = 5\n")
    run("study", "run", "toy.toml").refuses("give it another name")


def test_every_command_has_help_with_an_example(run):
    for command in ("run", "show", "export", "plot", "list"):
        result = run("study", command, "--help")
        assert result.status == 0
        assert f"Example:  thalweg study {command}" in result.out
