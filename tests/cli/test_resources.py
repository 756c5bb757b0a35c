"""Options about the machine: they reach the computation, and are refused where they cannot."""

from __future__ import annotations

import pytest
import torch

from thalweg import Objective
from thalweg.cli.options import parse_size
from thalweg.errors import InputError

DIGITS = ("--task", "digits", "--threshold", "0.1")


@pytest.fixture(autouse=True)
def _threads_as_before(monkeypatch):
    before = torch.get_num_threads()
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(variable, "1")
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("text", "size"), [
    ("2GB", 2 * 10**9), ("500MB", 500 * 10**6), ("1.5 GiB", 3 * 2**29), ("123", 123),
    ("64kB", 64_000), (" 1tb ", 10**12), ("7B", 7),
])  # fmt: skip
def test_sizes_are_read_with_their_units(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "2 GBs", "1e9", "nan", "0", "0.1B", "٣GB"])
def test_what_is_no_size_is_a_sentence(text):
    with pytest.raises(InputError, match="expected a size such as"):
        parse_size(text)


def test_a_memory_limit_is_kept_to_and_recorded(run, ends):
    result = run("connect", *ends, *DIGITS, "--memory-limit", "300kB", "--json")
    assert result.status == 0, result.err
    assert result.document["settings"]["budget"]["memory_limit"] == 300_000
    assert result.document["beads"] >= 1
    assert run("verify", "connection").status == 0


@pytest.mark.parametrize("limit", ["10kB", "much"])
def test_a_memory_limit_that_cannot_be_kept_is_refused(run, ends, tmp_path, limit):
    result = run("connect", *ends, *DIGITS, "--memory-limit", limit)
    result.refuses("limit" if limit == "10kB" else "much")
    assert not list(tmp_path.iterdir())


def test_threads_are_used_and_recorded(run, ends):
    train = ("train", "digits", "--threshold", 1, "--out", "x.safetensors", "--json")
    assert run(*train, "--threads", 3).document["threads"] == 3
    assert torch.get_num_threads() == 3
    result = run("connect", *ends, *DIGITS, "--profile-points", 0, "--threads", 2, "--json")
    assert result.document["settings"]["threads"] == 2
    assert run("verify", "connection", "--points", 1, "--threads", 1).status == 0
    assert torch.get_num_threads() == 1
    run(*train, "--threads", 0).refuses("--threads")


COMMANDS = {
    "train": ("train", "digits", "--threshold", 1, "--out", "x.safetensors"),
    "connect": ("connect", "A", "B", *DIGITS),
    "verify": ("verify", "DIR"),
    "tasks": ("tasks", "digits", "--explain"),
}


def named(arguments, made):
    files = {"A": "a.safetensors", "B": "b.safetensors", "DIR": "connection"}
    return [made / files[a] if a in files else a for a in arguments]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_a_gpu_that_is_not_there_is_a_sentence(run, made, tmp_path, command, device):
    run(*named(COMMANDS[command], made), "--device", device).refuses("'cuda", "such as cpu")
    assert not list(tmp_path.iterdir())


class Reached(Exception):
    pass


@pytest.mark.parametrize("command", COMMANDS)
def test_the_device_reaches_the_objective(run, made, monkeypatch, command):
    """The device "meta" computes shapes alone: it is there on every machine."""

    def to(self: Objective, device: object) -> Objective:
        raise Reached(str(device))

    monkeypatch.setattr(Objective, "to", to)
    with pytest.raises(Reached, match="meta"):
        run(*named(COMMANDS[command], made), "--device", "meta")


def test_strategies_are_explained(run):
    table = run("tasks", "quadratic", "--explain")
    assert table.status == 0
    assert table.out.count("gradients") == table.out.count("evaluation") == 3
    document = run("tasks", "--explain", "digits", "--json").document
    assert (document["task"], document["parameters"], document["device"]) == ("digits", 2410, "cpu")
    assert [(work["kind"], work["models"]) for work in document["work"]] == [
        (kind, models) for kind in ("evaluation", "gradients") for models in (1, 8, 64)
    ]
    for work in document["work"]:
        tried = [{k: v for k, v in m.items() if k != "nanoseconds"} for m in work["measured"]]
        assert work["chosen"] in tried
        assert all(measured["nanoseconds"] > 0 for measured in work["measured"])


def test_explaining_needs_a_task_or_problem(run):
    run("tasks", "--explain").refuses("--task", "--problem", "neither")
    run("tasks", "--problem", "a:b").refuses("add --explain")
    run("tasks", "nope").refuses("'nope'")
    assert [t["name"] for t in run("tasks", "digits", "--json").document["tasks"]] == ["digits"]
