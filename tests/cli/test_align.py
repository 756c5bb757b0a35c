"""``thalweg align`` and ``thalweg connect --align``."""

from __future__ import annotations

import pytest

from thalweg import load_checkpoint


def test_align_writes_a_checkpoint_and_one_document(run, ends):
    a, b = ends
    result = run("align", a, b, "--task", "digits", "--out", "c.safetensors", "--json")
    assert result.status == 0
    document = result.document
    assert document["after"] < document["before"]
    assert document["max_output_change"] <= 1e-4
    assert document["families"][0]["units"] == 32
    again = run("align", a, "c.safetensors", "--task", "digits", "--out", "d.safetensors", "--json")
    assert again.document["before"] == pytest.approx(document["after"])
    assert set(load_checkpoint("c.safetensors")) == set(load_checkpoint(b))


def test_align_says_in_words_what_it_did(run, ends):
    result = run("align", *ends, "--task", "digits", "--out", "c.safetensors", "--rescale")
    assert result.status == 0
    assert result.out.startswith("Aligned: ")
    assert "of 32 in 0" in result.out


def test_connect_align_is_connected_up_to_symmetry(run, ends):
    connect = ["connect", *ends, "--task", "digits", "--threshold", "0.1", "--profile-points", "0"]
    result = run(*connect, "--align", "--certificate", "sampled", "--json")
    assert result.status == 0
    document = result.document
    assert document["outcome"] == "connected up to symmetry"
    assert document["endpoints"][1]["given_sha256"] not in (
        None,
        document["endpoints"][1]["sha256"],
    )
    plain = run("verify", "connection", "--points", "3")
    assert plain.status == 0


def test_bad_input_is_one_sentence(run, ends, tmp_path):
    a, b = ends
    align = ["align", a, b, "--task", "digits", "--out", "c.safetensors"]
    run(*align, "--method", "names").refuses("weights, activations", "names")
    run("align", a, b, "--task", "digits", "--out", "c.pt").refuses(".safetensors")
    run("align", a, "none.safetensors", *align[3:]).refuses("none.safetensors")
    empty = tmp_path / "empty.safetensors"
    empty.write_bytes(b"")
    run("align", a, empty, *align[3:]).refuses("empty.safetensors")
    code = "\n".join([
        "import torch, thalweg",
        "def make():",
        "    x = torch.randn(8, 2)",
        "    return thalweg.Objective(torch.nn.Linear(2, 1), torch.nn.functional.mse_loss,",
        "                             train=(x, x[:, :1]))",
    ])  # fmt: skip
    (tmp_path / "own.py").write_text(code)
    run("align", a, b, "--problem", "own.py:make", "--out", "c.safetensors").refuses("expected")
