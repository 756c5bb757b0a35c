"""Every command that takes ``--device`` does its work on a GPU."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

TOY = Path(__file__).parents[1] / "study" / "toy.py"
GPU = ("--device", "cuda")
DIGITS = ("--task", "digits")
PAIR = ("a.safetensors", "b.safetensors", *DIGITS)

COMMANDS = {
    "train": ("train", "digits", "--threshold", "0.1", "--out", "x.safetensors"),
    "connect": ("connect", *PAIR, "--threshold", "0.1"),
    "tighten": ("connect", *PAIR, "--threshold", "0.1", "--align", "--tighten"),
    "verify": ("verify", "connection"),
    "compare": ("compare", *PAIR, "--threshold", "0.1", "--methods", "greedy,bezier"),
    "align": ("align", *PAIR, "--out", "c.safetensors", "--rescale"),
    "plane": ("plane", "connection", "--shape", "7"),
    "surface": ("surface", "a.safetensors", *DIGITS, "--shape", "7", "--out", "s.png"),
    "spectrum": ("spectrum", "a.safetensors", *DIGITS, "--top", "1"),
    "basin": ("basin", "a.safetensors", *DIGITS, "--level", "0.2", "--directions", "2"),
    "valley": ("valley", "connection", "--points", "3", "--directions", "2"),
    "edge": ("edge", *DIGITS, "--learning-rates", "0.1", "--steps", "3", "--examples", "100"),
    "atlas": ("atlas", "--task", "quadratic-small", "--models", "3", "--levels", "0.1"),
    "explain": ("tasks", "digits", "--explain"),
}  # fmt: skip


@pytest.fixture
def folder(made, run, tmp_path, cuda) -> Path:
    """Two networks, a and b, and their connection."""
    shutil.copytree(made / "connection", tmp_path / "connection")
    for name in "ab":
        shutil.copy(made / f"{name}.safetensors", tmp_path)
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS)
def test_the_command_works(command, folder, run):
    result = run(*COMMANDS[command], *GPU)
    assert result.status == 0, result.err
    assert result.out


def test_a_study_runs(folder, run):
    Path("toy.toml").write_text(
        f'pairs = 1\n[[problems]]\nlabel = "toy"\nproblem = "{TOY}:problem"\nthresholds = [0.3]\n'
    )
    result = run("study", "run", "toy.toml", "--threads", 1, *GPU)
    assert result.status == 0, result.err
    assert "1 of 1" in result.out
