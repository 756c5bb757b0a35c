"""``thalweg compare`` and ``--tighten``."""

from __future__ import annotations

import pytest

import thalweg

DIGITS = ("--task", "digits", "--threshold", "0.1")


def test_compare_prints_one_document_with_a_connection_for_every_method(run, ends):
    result = run("compare", *ends, *DIGITS, "--methods", "greedy,linear,bezier", "--json")
    assert result.status == 0, result.err
    connections = result.document["connections"]
    assert [c["method"] for c in connections] == ["greedy", "linear", "bezier"]
    assert [c["outcome"] for c in connections] == ["connected", "above threshold", "connected"]
    assert all(c["certificate"] == "proved" for c in connections)
    assert connections[0]["settings"]["alpha"] == 0.95


def test_compare_shows_a_table_and_saves_what_verify_can_check(run, ends, tmp_path):
    result = run("compare", *ends, *DIGITS, "--methods", "linear,polygonal", "--out", "all",
                 "--certificate", "sampled")  # fmt: skip
    assert result.status == 0, result.err
    for words in ("method", "polygonal", "above", "gradient", "comparison.png"):
        assert words in result.out
    names = {file.name for file in (tmp_path / "all").iterdir()}
    assert names == {"comparison.png", "comparison.svg", "linear", "polygonal"}
    assert run("verify", "all/polygonal").status == 0
    assert run("compare", *ends, *DIGITS, "--methods", "linear", "--out", "all").status == 0


def test_connect_tightens(run, ends):
    common = ("connect", *ends, *DIGITS, "--certificate", "sampled", "--profile-points", 0)
    result = run(*common, "--tighten")
    assert result.status == 0
    assert "before tightening" in result.out
    connection = thalweg.load_connection("connection")
    assert connection.settings["tightened_from"] > connection.normalized_length
    assert run("verify", "connection").status == 0


def test_a_bezier_connection_has_a_profile_and_a_report(run, ends):
    result = run("connect", *ends, *DIGITS, "--method", "bezier", "--certificate", "sampled")
    assert result.status == 0, result.err
    assert "a Bézier curve with 1 control point" in result.out
    assert run("report", "connection", "--out", "r.html").status == 0
    assert run("verify", "connection").status == 0


@pytest.mark.parametrize("names", ["teleport", "greedy,teleport", ""])
def test_methods_that_are_unknown(run, ends, names):
    run("compare", *ends, *DIGITS, "--methods", names).refuses("expected a method among greedy")


def test_an_option_that_a_method_does_not_have(run, ends):
    run("connect", *ends, *DIGITS, "--method", "linear", "--alpha", "0.9").refuses(
        "alpha", "linear"
    )


def test_a_folder_that_holds_other_things(run, ends, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("")
    run("compare", *ends, *DIGITS, "--out", "mine").refuses("mine/thesis.tex")
