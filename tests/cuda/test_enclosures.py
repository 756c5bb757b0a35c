"""Bounds that are computed on a GPU hold, and are as close as those from a CPU."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.certify.taylor_problems import CASES, case, enclosed, output
from tests.certify.test_taylor_soundness import LOSSES, draw, values
from tests.helpers import PROBLEMS, random_stack
from thalweg import Criterion, Objective, bound_segment
from thalweg.certify.enclosure import enclose
from thalweg.certify.exact import exact_maximum


def moved(made: Any, device: torch.device) -> Any:
    """The same problem elsewhere."""
    there = copy.copy(made)
    there.model = copy.deepcopy(made.model).to(device)
    there.splits = {k: s.to(device, torch.float64) for k, s in made.splits.items()}
    if hasattr(made, "inputs"):
        there.inputs = tuple(x.to(device) for x in made.inputs)
    return there


def there(tensor: Tensor | None) -> Tensor:
    assert tensor is not None
    assert tensor.device.type == "cuda"
    return tensor.cpu()


# Functions of the catalogue that hold constants of their own on the CPU.
CONSTANTS = {
    name for name in CASES
    if name.startswith(("bce", "kl_div", "huber", "smooth_l1", "cross_entropy", "nll_loss"))
    or name in {"l1_loss", "mse_loss", "where-mask", "attention-mask"}
}  # fmt: skip


@pytest.mark.parametrize("name", [name for name in CASES if name not in CONSTANTS])
def test_the_enclosure_of_every_rule_holds(name, cuda):
    for seed, halfwidth in enumerate((1e-3, 0.1, 1.0)):
        made, center, direction = case(name, seed)
        here = enclosed(made, center, direction, halfwidth)
        model = enclosed(moved(made, cuda), center.to(cuda), direction.to(cuda), halfwidth)
        value, slope, remainder = (there(p) for p in (model.value, model.slope, model.remainder))
        for s in torch.linspace(-1, 1, 21, dtype=torch.float64).tolist():
            truth = output(made, center + s * halfwidth * direction)
            distance = (truth - value - slope * s).abs()
            assert not bool((distance > remainder + 1e-13 * (1 + truth.abs())).any())
        assert here.remainder is not None
        close = here.remainder.isfinite()
        assert bool((remainder <= 1.01 * here.remainder + 1e-12)[close].all())


@pytest.mark.parametrize("family", range(4))
@pytest.mark.parametrize("loss", range(len(LOSSES)))
def test_no_value_is_above_the_bound(family, loss, cuda):
    for seed in range(4):
        made, center, direction = draw(family, 1 + seed, 3 + 4 * seed, seed, loss, seed)
        halfwidth = 10 ** (-2 + 0.7 * seed)
        grid = torch.linspace(-halfwidth, halfwidth, 101, dtype=torch.float64)
        highest = float(values(made, center + grid[:, None] * direction).max())
        found = enclose(moved(made, cuda), center.to(cuda), direction.to(cuda), halfwidth)
        here = enclose(made, center, direction, halfwidth)
        assert highest <= found.upper + 1e-12 * (1 + abs(highest))
        assert found.upper == pytest.approx(here.upper, rel=1e-2, abs=1e-9)


@pytest.mark.parametrize("problem", ["mlp", "cnn", "lstm", "tied", "two inputs"])
@pytest.mark.parametrize("measure", ["loss", "error_rate", "perplexity"])
def test_segments_are_proved_as_on_the_cpu(problem, measure, cuda):
    if measure != "loss" and not PROBLEMS[problem].classes:
        pytest.skip("has no classes")
    objective = PROBLEMS[problem].build(criterion=Criterion(measure))
    start, end = random_stack(objective, 2)
    found = [bound_segment(o, start, end) for o in (objective, objective.to(cuda))]
    assert found[1].kind == "proved"
    assert found[1].bound == pytest.approx(found[0].bound, rel=1e-2)


def test_the_exact_maximum_of_a_shallow_network_is_that_on_the_cpu(cuda):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 5), nn.ReLU(), nn.Linear(5, 1))
    data = torch.randn(30, 2), torch.randn(30, 1)
    here = Objective(model, nn.functional.mse_loss, train=data)
    start, end = random_stack(here, 2)
    found = [exact_maximum(o, start, end) for o in (here, here.to(cuda))]
    assert found[1].maximum == pytest.approx(found[0].maximum, rel=1e-9)
