"""Problems of one's own: ``--problem MODULE:FACTORY``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import thalweg

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_model.py"

LINEAR = """
import torch
from torch import nn
import thalweg

def problem():
    x = torch.linspace(-1, 1, 20).reshape(-1, 1)
    return thalweg.Objective(nn.Linear(1, 1), nn.functional.mse_loss, train=(x, 2 * x))

def empty():
    x = torch.zeros(0, 1)
    return thalweg.Objective(nn.Linear(1, 1), nn.functional.mse_loss, train=(x, x))

def noisy():
    x = torch.ones(20, 1)
    def loss(output, target):
        return (output - target).pow(2).mean() + torch.rand(())
    return thalweg.Objective(nn.Linear(1, 1), loss, train=(x, x))

def raises():
    return 1 / 0

def quits():
    raise SystemExit("usage: ...")

def nothing():
    pass

def demanding(path):
    return path

number = 3
"""


@pytest.fixture
def linear(run) -> None:
    """A problem file and two endpoints in the working folder."""
    del run  # made it the working folder
    Path("linear_problem.py").write_text(LINEAR)
    for name, slope in (("a", 1.9), ("b", 2.1)):
        state = {"weight": torch.tensor([[slope]]), "bias": torch.zeros(1)}
        torch.save(state, f"{name}.pt")


def connect(run, problem: str, *options: object):
    return run("connect", "a.pt", "b.pt", "--problem", problem, "--threshold", 0.01, *options)


@pytest.mark.usefixtures("linear")
class TestAProblem:
    @pytest.mark.parametrize("name", ["linear_problem.py", "linear_problem"])
    def test_is_a_file_or_a_module(self, run, name):
        result = connect(run, f"{name}:problem", "--json")
        assert result.status == 0, result.err
        assert result.document["beads"] == 0
        assert result.document["normalized_length"] == 1
        sys.modules.pop("linear_problem", None)
        verified = run("verify", "connection")
        assert verified.status == 0
        assert ":problem" in verified.err, "it says whose code it runs"

    def test_is_found_again_from_another_folder(self, run, tmp_path, monkeypatch):
        connect(run, "linear_problem.py:problem")
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        assert run("verify", tmp_path / "connection").status == 0

    @pytest.mark.parametrize(
        ("problem", "words"),
        [
            ("linear_problem.py", ["MODULE:FACTORY"]),
            (":problem", ["MODULE:FACTORY"]),
            ("linear_problem.py:", ["MODULE:FACTORY"]),
            ("no_such_file.py:problem", ["no_such_file.py", "check the path"]),
            ("no_such_module:problem", ["no_such_module", "cannot be found"]),
            ("no.such.module:problem", ["no.such.module", "cannot be found"]),
            ("linear_problem.py:factory", ["'factory'", "got nothing"]),
            ("linear_problem.py:number", ["'number'", "got a int"]),
            ("linear_problem.py:raises", ["ZeroDivisionError", "linear_problem.py, line"]),
            ("linear_problem.py:quits", ["SystemExit: usage"]),
            ("linear_problem.py:nothing", ["thalweg.Objective", "got NoneType"]),
            ("linear_problem.py:demanding", ["TypeError", "path"]),
            ("linear_problem.py:empty", ["at least one example", "'train'"]),
            ("linear_problem.py:noisy", ["evaluated twice"]),
        ],
    )
    def test_that_cannot_be_made_is_one_sentence(self, run, problem, words):
        connect(run, problem).refuses(*words)
        assert not Path("connection").exists()

    @pytest.mark.parametrize(
        ("code", "words"),
        [
            ("import no_such_dependency", ["ModuleNotFoundError", "no_such_dependency"]),
            ("def problem(:", ["SyntaxError"]),
            ("raise RuntimeError('first\\nsecond')", ["RuntimeError: first second", "line 1"]),
        ],
    )
    def test_whose_import_fails_is_one_sentence(self, run, code, words):
        Path("broken_problem.py").write_text(code)
        connect(run, "broken_problem.py:problem").refuses(*words)
        sys.modules.pop("broken_problem", None)
        connect(run, "broken_problem:problem").refuses(*words)


def test_the_example_works_as_documented(run):
    subprocess.run([sys.executable, EXAMPLE], check=True, capture_output=True)
    result = run("connect", "a.pt", "b.safetensors", "--problem", f"{EXAMPLE}:problem",
                 "--threshold", 0.05, "--out", "own", "--profile-points", 3)  # fmt: skip
    assert result.status == 0, result.err
    assert thalweg.load_connection("own").connected
    assert run("verify", "own", "--points", 3).status == 0
