"""Bad input: a sentence and exit status 2, before anything is computed or written."""

from __future__ import annotations

import math
import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

DIGITS = ("--task", "digits", "--threshold", "0.1")


@pytest.fixture
def weights(ends) -> dict[str, torch.Tensor]:
    """Those of one of the trained networks."""
    return load_file(ends[0])


def bad_endpoint(run, ends, file: str):
    result = run("connect", ends[0], file, *DIGITS)
    assert not Path("connection").exists()
    return result


# ---------------------------------------------------------------- endpoints


def test_architectures_that_differ(run, ends, weights):
    weights["0.weight"] = torch.zeros(16, 64)
    save_file(weights, "x.safetensors")
    bad_endpoint(run, ends, "x.safetensors").refuses(
        "'0.weight'", "[32, 64]", "[16, 64]", "endpoint B", "x.safetensors"
    )


def test_names_that_are_missing_or_unexpected(run, ends, weights):
    weights["other.weight"] = weights.pop("2.weight")
    save_file(weights, "x.safetensors")
    bad_endpoint(run, ends, "x.safetensors").refuses(
        "missing '2.weight'", "unexpected 'other.weight'"
    )


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_values_that_are_not_finite(run, ends, weights, value):
    weights["2.bias"][3] = value
    save_file(weights, "x.safetensors")
    bad_endpoint(run, ends, "x.safetensors").refuses("1 NaN or inf", "'2.bias'", "endpoint B")


def test_an_endpoint_above_the_threshold(run, ends):
    result = run("connect", *ends, "--task", "digits", "--threshold", "0.01")
    result.refuses("endpoint A", "0.01", "raise the threshold to at least 0.0")
    assert not Path("connection").exists()


def test_a_pickle_that_would_run_code(run, ends, tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "sprung"),)

    torch.save({"0.weight": Trap()}, "x.pt")
    with open("y.pth", "wb") as file:
        pickle.dump(Trap(), file)
    bad_endpoint(run, ends, "x.pt").refuses("state dict", "not unpickled")
    bad_endpoint(run, ends, "y.pth").refuses("state dict")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@pytest.mark.parametrize("length", [0, 10, 2000])
def test_truncated_files(run, ends, weights, suffix, length):
    torch.save(weights, "whole.pt")
    save_file(weights, "whole.safetensors")
    Path(f"x{suffix}").write_bytes(Path(f"whole{suffix}").read_bytes()[:length])
    bad_endpoint(run, ends, f"x{suffix}").refuses("cannot be read", f"x{suffix}")


@pytest.mark.parametrize("name", ["nothing.safetensors", "nothing.bin"])
def test_files_that_are_not_there(run, ends, name):
    bad_endpoint(run, ends, name).refuses("got nothing", name)


# ---------------------------------------------------------------- options


@pytest.mark.parametrize("level", ["0", "-1", "nan", "inf"])
def test_thresholds_that_are_none(run, ends, level):
    run("connect", *ends, "--task", "digits", "--threshold", level).refuses("threshold L0 > 0")
    run("train", "digits", "--threshold", level, "--out", "x.safetensors").refuses("L0 > 0")


def test_an_unknown_task(run, ends):
    run("train", "digit", "--threshold", 1, "--out", "x.safetensors").refuses("'digit'", "digits")
    run("connect", *ends, "--task", "nope", "--threshold", 1).refuses("'nope'", "quadratic")


def test_neither_task_nor_problem_and_both(run, ends):
    run("connect", *ends, "--threshold", 1).refuses("--task", "--problem", "neither")
    run("connect", *ends, *DIGITS, "--problem", "a:b").refuses("--task", "--problem", "both")


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (("--method", "annealing"), "'annealing'"),
        (("--certificate", "sworn"), "'sworn'"),
        (("--alpha", "1.5"), "alpha in (0, 1]"),
        (("--t-star", "centre"), "'centre'"),
        (("--device", "abacus"), "'abacus'"),
        (("--max-beads", "-1"), "--max-beads"),
        (("--max-seconds", "nan"), "seconds"),
        (("--seed", "x"), "--seed"),
        (("--bogus",), "--bogus"),
    ],
)
def test_options_out_of_range(run, ends, options, word):
    run("connect", *ends, *DIGITS, *options).refuses(word)


def test_usage_errors_point_to_the_help(run):
    run("connect", "a", "b").refuses("--threshold", "see thalweg connect --help")
    run("bogus").refuses("'bogus'", "see thalweg --help")


def test_data_that_are_missing_or_empty(run, tmp_path):
    mnist = ("train", "mnist-mlp", "--threshold", 1, "--out", "x.safetensors")
    run(*mnist).refuses("--data-dir", "THALWEG_DATA")
    run(*mnist, "--data-dir", tmp_path / "none").refuses("nothing")
    run(*mnist, "--data-dir", tmp_path).refuses("train-images-idx3-ubyte")


# ---------------------------------------------------------------- output


def test_an_output_folder_that_is_something_else(run, ends):
    Path("mine").mkdir()
    Path("mine/thesis.tex").write_text("precious")
    run("connect", *ends, *DIGITS, "--out", "mine").refuses("not a connection's", "mine")
    run("demo", "--out", "mine").refuses("mine")
    assert [f.name for f in Path("mine").iterdir()] == ["thesis.tex"]


def test_an_output_that_is_a_file_or_cannot_be_made(run, ends, made):
    Path("file").write_text("")
    run("connect", *ends, *DIGITS, "--out", "file").refuses("a file")
    run("connect", *ends, *DIGITS, "--out", "file/x").refuses("a file at")
    run("demo", "--out", "file").refuses("file")
    train = ("train", "digits", "--threshold", 1, "--out")
    run(*train, "x.pt").refuses(".safetensors")
    run(*train, "file/x.safetensors").refuses("a file at")
    Path("x.safetensors").mkdir()
    run(*train, "x.safetensors").refuses("the folder")
    run("report", made / "connection", "--out", "x.txt").refuses(".html")


# ---------------------------------------------------------------- connections


@pytest.fixture
def copied(made, tmp_path) -> Path:
    """A connection to spoil."""
    return Path(shutil.copytree(made / "connection", tmp_path / "copied"))


def test_a_path_that_was_tampered_with(run, copied):
    file = copied / "path.safetensors"
    content = bytearray(file.read_bytes())
    content[len(content) // 2 + 3] ^= 0x10  # an exponent's bit of a weight
    file.write_bytes(bytes(content))
    result = run("verify", copied)
    assert result.status == 3, result


def test_a_record_that_was_tampered_with(run, copied):
    record = copied / "connection.json"
    record.write_text(record.read_text().replace('"threshold": 0.1', '"threshold": 0.05'))
    result = run("verify", copied, "--json")
    assert result.status == 3
    assert not result.document["passed"]


def test_records_that_are_corrupt(run, copied):
    record = copied / "connection.json"
    whole = record.read_text()
    for text in ("", whole[: len(whole) // 2], "[]", "{}", whole.replace('"segments"', '"x"')):
        record.write_text(text)
        run("verify", copied).refuses("connection.json")
        run("report", copied, "--out", "r.html").refuses("connection.json")
    record.write_text(whole.replace('"outcome": "connected"', '"outcome": "splendid"'))
    run("verify", copied).refuses("splendid")
    assert not Path("r.html").exists()


def test_a_path_that_is_truncated_or_gone(run, copied):
    file = copied / "path.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    run("verify", copied).refuses("path.safetensors")
    file.unlink()
    run("verify", copied).refuses("path.safetensors")


def test_a_folder_without_a_connection(run):
    run("verify", "nowhere").refuses("connection.json", "nowhere")


def test_a_connection_of_another_problem(run, copied):
    run("verify", copied, "--task", "quadratic").refuses("architecture")


def test_a_connection_that_names_no_problem(run, copied):
    record = copied / "connection.json"
    record.write_text(record.read_text().replace('"task": "digits"', '"tsk": "digits"'))
    run("verify", copied).refuses("--task")
    assert run("verify", copied, "--task", "digits").status == 0
