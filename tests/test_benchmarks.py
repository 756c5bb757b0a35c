"""What the benchmarks print, and that the surfaces' two sides are the same numbers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional

from benchmarks import proof, spurious
from benchmarks.__main__ import table
from benchmarks.surfaces import Case, run_case
from thalweg import Objective


def test_a_document_of_pairs_and_any_other_print_as_a_table():
    pairs = {
        "name": "pairs", "pairs": 4, "threshold": 0.05, "ratios": {"seconds": 2.0},
        "ours": {"seconds": 1.0, "beads": 3, "plans": {}},
        "reference": {"seconds": 2.0, "beads": 5},
    }  # fmt: skip
    lines = table(pairs).splitlines()
    assert lines[0] == "pairs: 4 pairs at L0 = 0.05"
    assert lines[2].split() == ["seconds", "1", "2", "2"]
    assert lines[3].split() == ["beads", "3", "5"]
    assert len(lines) == 4
    other = {
        "name": "other",
        "about": "a thing",
        "ratios": {},
        "ours": {"how": "so"},
        "reference": {},
    }
    assert table(other).splitlines()[2].split() == ["how", "so"]


def test_both_sides_of_a_surface_agree_with_float64():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    data = torch.rand(40, 6), torch.arange(40) % 3
    document = run_case(Case("small", model, functional.cross_entropy, data, 30, 30), 1, 0)
    assert document["points"] == 51 * 51
    assert document["ours"]["relative_error"] < 1e-6
    assert document["reference"]["relative_error"] < 1e-6
    assert set(document) >= {"name", "ratios", "ours", "reference", "machine"}


def test_a_loop_over_runs_ends_where_all_runs_at_once_do():
    document = spurious.run(k=8, runs=12, loop=2, seed=1)
    assert document["same_fate"]
    assert document["greatest_distance"] < 1e-6
    assert document["ours"]["undecided"] == 0
    assert set(document["ratios"]) == {"seconds", "seconds_numpy", "steps"}
    assert document["ratios"]["steps"] > 1


def perceptron() -> Objective:
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 10))
    data = torch.rand(2000, 784, generator=generator), torch.arange(2000) % 10
    return Objective(model, functional.cross_entropy, train=data)


@pytest.mark.parametrize("problem", [perceptron, lambda: proof._language().objective])
def test_a_bound_takes_at_most_four_times_the_memory_of_an_evaluation(
    problem: Callable[[], Objective],
):
    objective = problem()
    generator = torch.Generator().manual_seed(0)
    points = 0.1 * torch.randn(2, objective.layout.size, generator=generator)
    peaks = proof._memory(objective, points)
    assert peaks["peak_bytes"] <= 4 * peaks["plain_peak_bytes"]
