"""``thalweg spectrum`` and ``thalweg edge``."""

from __future__ import annotations

import pytest

from thalweg import spectrum
from thalweg.tasks import get_task


def test_spectrum_prints_one_document_that_the_api_gives_too(run, ends):
    result = run("spectrum", ends[0], "--task", "digits", "--top", "3", "--json")
    assert result.status == 0
    document = result.document
    assert len(document["eigenvalues"]) == len(document["residuals"]) == 3
    assert document["trace_standard_error"] == 0
    assert document["converged"]
    found = spectrum(get_task("digits").build(None), ends[0], top=3)
    assert document["eigenvalues"] == pytest.approx(found.top.tolist())
    assert document["trace"] == pytest.approx(found.trace.value)
    assert document["hessian_vector_products"] == found.products


def test_spectrum_in_words(run, ends):
    result = run("spectrum", ends[0], "--task", "digits", "--top", "1", "--bottom", "1", "--layers",
                 "--examples", "200", "--single", "--tolerance", "1e-3")  # fmt: skip
    assert result.status == 0
    assert result.out.startswith("Largest eigenvalue of the Hessian: ")
    for word in ("least", "exact", "layer 2", "200 examples"):
        assert word in result.out


def test_edge_draws_and_prints(run, tmp_path):
    edge = ["edge", "--task", "digits", "--learning-rates", "0.1,0.05", "--steps", "5",
            "--every", "2", "--examples", "100"]  # fmt: skip
    result = run(*edge, "--out", "edge.svg", "--json")
    assert result.status == 0
    first, second = result.document["descents"]
    assert (first["learning_rate"], second["threshold"]) == (0.1, 40.0)
    assert first["steps"] == [0, 2, 4]
    assert len(first["losses"]) == 5
    assert "largest eigenvalue" in (tmp_path / "edge.svg").read_text()
    words = run(*edge)
    assert "0 of 2 descents" in words.out


def test_bad_input_is_one_sentence(run, ends):
    spectrum = ["spectrum", ends[0], "--task", "digits"]
    run(*spectrum, "--matrix", "fisher").refuses("hessian, gauss-newton", "fisher")
    run(*spectrum, "--top", "100000").refuses("2410")
    run("spectrum", "none.pt", "--task", "digits").refuses("none.pt")
    edge = ["edge", "--task", "digits", "--learning-rates"]
    run(*edge, "fast").refuses("fast")
    run(*edge, "-1").refuses("learning rates > 0")
    run(*edge, "0.1", "--out", "edge.txt").refuses(".png")
