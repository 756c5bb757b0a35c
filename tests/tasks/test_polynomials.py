"""The polynomial tasks against their closed forms and distributions."""

from __future__ import annotations

import pytest
import torch
from torch import Generator

from thalweg.errors import InputError
from thalweg.tasks import get_task, quadratic
from thalweg.tasks.polynomials import cubic_target, midpoints, quadratic_target


@pytest.mark.parametrize(
    ("target", "coefficients"),
    [(quadratic_target, (0.5, 0.25, 0.1)), (cubic_target, (8, -10, 3, 0))],
)
def test_the_targets_equal_their_closed_forms(target, coefficients):
    x = torch.linspace(-1, 2, 301, dtype=torch.float64)
    closed = sum(c * x**k for k, c in enumerate(reversed(coefficients)))
    torch.testing.assert_close(target(x), closed, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize(
    ("name", "target"), [("quadratic", quadratic_target), ("cubic", cubic_target)]
)
def test_the_data_are_the_targets_on_the_unit_interval(name, target):
    for split in get_task(name).build(None).splits.values():
        x = split.inputs[0]
        assert x.shape == split.target.shape == (10_000, 1)
        torch.testing.assert_close(split.target, target(x.double()).float())
        # 10,000 uniform draws: mean and variance within four standard errors
        assert abs(x.mean() - 1 / 2) < 4 / (12 * 10_000) ** 0.5
        assert abs(x.var() - 1 / 12) < 4 * (1 / 180 / 10_000) ** 0.5


def test_the_loss_is_the_mean_absolute_error():
    objective = get_task("quadratic").build(None)
    output, target = torch.tensor([[1.0], [2.0]]), torch.tensor([[0.0], [4.0]])
    assert objective.loss(output, target).mean() == 1.5


def test_the_best_constant_for_the_cubic():
    y = get_task("cubic").build(None).splits["test"].target
    deviation = (y - y.median()).abs()
    # .1582 by quadrature; the sample's mean lies within four standard errors of it
    assert deviation.mean() == pytest.approx(0.1582, abs=4 * deviation.std().item() / 100)


@pytest.mark.parametrize(("option", "variance"), [("uniform", 1 / 3), ("normal", 1.0)])
def test_the_initialization_of_the_quadratic_is_an_option(option, variance):
    task = quadratic(initialization=option)
    generator = Generator().manual_seed(0)
    weights = torch.cat(
        [p.detach().flatten() for _ in range(400) for p in task.initialize(generator).parameters()]
    )
    assert weights.var() == pytest.approx(variance, rel=0.05)
    assert weights.mean() == pytest.approx(0, abs=0.05)
    assert (weights.abs().max() <= 1) == (option == "uniform")


def test_an_unknown_initialization_is_refused():
    with pytest.raises(InputError, match="uniform or normal, got 'glorot'"):
        quadratic(initialization="glorot")  # pyright: ignore[reportArgumentType]  # the point


def test_the_initialization_of_the_cubic():
    generator = Generator().manual_seed(0)
    drawn_models = [get_task("cubic").initialize(generator).state_dict() for _ in range(400)]

    def pooled(kind: str) -> torch.Tensor:
        return torch.cat([t.flatten() for m in drawn_models for k, t in m.items() if kind in k])

    assert pooled("weight").abs().max() <= 1
    assert pooled("weight").var() == pytest.approx(1 / 3, rel=0.05)
    assert pooled("bias").var() == pytest.approx(1, rel=0.1)


@pytest.mark.parametrize(
    ("name", "target"), [("quadratic", quadratic_target), ("cubic", cubic_target)]
)
def test_quadrature_is_the_population_risk_up_to_the_error_that_it_states(name, target):
    task = get_task(name, data="quadrature")
    objective, drawn = task.build(None).double(), get_task(name).build(None).double()
    generator = Generator().manual_seed(0)
    fine = midpoints(400_000).double()
    h = 1 / 2_000
    for _ in range(6):
        model = task.initialize(generator).double()
        theta = objective.theta(model)
        x = midpoints(20_000).double().requires_grad_()
        error = model(x) - target(x)
        (slope,) = torch.autograd.grad(error.sum(), x, create_graph=True)
        (bend,) = torch.autograd.grad(slope.sum(), x)
        with torch.no_grad():
            truth = (model(fine) - target(fine)).abs().mean().item()
            nodes = torch.arange(2_001, dtype=torch.float64)[:, None] * h
            sign = (model(nodes) - target(nodes)).sign()
        changes = int((sign[1:] != sign[:-1]).sum())
        steepest, most = slope.abs().max().item(), bend.abs().max().item()
        bound = h**2 / 24 * most + h**2 / 4 * changes * steepest
        # the nodes are float32, and the reference is itself a midpoint rule, 200 times as fine
        allowed = 1.01 * bound + 1e-7 * steepest
        assert abs(objective.criterion_of(theta[None]).values.item() - truth) <= allowed
        assert abs(drawn.criterion_of(theta[None]).values.item() - truth) > allowed


def test_quadrature_and_width_are_options_of_both_polynomials():
    for name in ("quadratic", "cubic"):
        task = get_task(name, data="quadrature", width=2)
        assert "1-2-2-1" in task.architecture
        splits = task.build(None).splits
        assert torch.equal(splits["train"].target, splits["test"].target)
        assert sorted(splits["test"].inputs[0].flatten().tolist()) == midpoints(2_000).flatten(
        ).tolist()  # fmt: skip


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"data": "exact"}, "draws, quadrature, got 'exact'"),
        ({"width": 0}, "at least 1 unit, got 0"),
        ({"depth": 3}, "the options data, width, got 'depth'"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, words):
    with pytest.raises(InputError, match=words):
        get_task("cubic", **options)
