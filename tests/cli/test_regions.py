"""``thalweg basin`` and ``thalweg valley``."""

from __future__ import annotations

import pytest

import thalweg
from thalweg.geometry import basin, valley
from thalweg.tasks import get_task


def test_basin_prints_what_the_api_gives(run, ends):
    result = run("basin", ends[0], "--task", "digits", "--level", "0.2", "--directions", "4",
                 "--json")  # fmt: skip
    assert result.status == 0
    found = basin(get_task("digits").build(None), ends[0], 0.2, directions=4)
    assert result.document["radii"] == [pytest.approx(pair) for pair in found.radii.tolist()]
    assert result.document["radius"] == pytest.approx(found.radius)
    assert result.document["log_volume_at_least"] == pytest.approx(found.log_volume[0])


def test_basin_in_words(run, ends):
    basin = ["basin", ends[0], "--task", "digits", "--directions", "2", "--level"]
    words = run(*basin, "0.2").out
    for word in ("The basin below loss 0.2 has a median radius of", "asymmetry", "log volume"):
        assert word in words
    assert "of the model's own size" in run(*basin, "0.2", "--normalization", "filter").out
    assert "not reached" in run(*basin, "0.2", "--reach", "0.001").out


def test_valley_prints_what_the_api_gives(run, made):
    folder = made / "connection"
    result = run("valley", folder, "--points", "3", "--directions", "2", "--json")
    assert result.status == 0
    connection = thalweg.load_connection(folder)
    found = valley(
        get_task("digits").build(None), connection.path, 0.1, t=[0, 0.5, 1], directions=2
    )
    assert result.document["level"] == 0.1
    assert result.document["narrow_width"] == pytest.approx(found.narrow_width)
    assert result.document["aspect"] == pytest.approx(found.aspect)
    assert len(result.document["sections"]) == 3


def test_valley_in_words_has_a_line_a_bead(run, made):
    words = run("valley", made / "connection", "--directions", "1").out
    assert words.startswith("The valley below loss 0.1 is ")
    assert "wide at its waist" in words
    assert words.count("along the sharpest 0") >= 3


def test_bad_input_is_one_sentence(run, made, ends):
    run("valley", made / "connection", "--level", "0.01").refuses(
        "level of 0.01", "raise the level"
    )
    run("valley", "nowhere").refuses("nowhere")
    run("valley", made / "connection", "--reach", "-1").refuses("finite distance")
    basin = ["basin", ends[0], "--task", "digits", "--level"]
    run(*basin, "0.01").refuses("level of 0.01")
    run(*basin, "nan").refuses("level of nan")
    run(*basin, "0.2", "--normalization", "odd").refuses("filter, layer, none")
