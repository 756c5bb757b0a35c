"""Values and gradients on a GPU are those on a CPU."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.helpers import PROBLEMS, random_stack
from thalweg import Calibration, Criterion, Objective, Training, train
from thalweg.objective import evaluate_on

STRATEGIES = [(name, s) for name, p in PROBLEMS.items() for s in p.strategies]


@pytest.mark.parametrize(("problem", "strategy"), STRATEGIES)
def test_values_are_those_on_the_cpu(problem, strategy, cuda):
    here = PROBLEMS[problem].build(strategy=strategy)
    stack = random_stack(here, 5)
    expected = here.criterion_of(stack).values
    found = here.to(cuda).criterion_of(stack).values
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize(("problem", "strategy"), STRATEGIES)
def test_gradients_are_those_on_the_cpu(problem, strategy, cuda):
    if problem == "dropout":
        pytest.skip("draws other numbers on another device")
    here = PROBLEMS[problem].build(strategy=strategy)
    there = here.to(cuda)
    stack = random_stack(here, 3)
    batches = [next(objective.minibatches(0)) for objective in (here, there)]
    expected = here.gradients(stack, batches[0]).gradients
    found = there.gradients(stack.to(cuda), batches[1]).gradients
    assert found.device.type == "cuda"
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-9, atol=1e-12)


def test_statistics_of_batchnorm_are_estimated_there(cuda):
    here = PROBLEMS["batchnorm"].build(calibration=Calibration(examples=64))
    stack = random_stack(here, 3)
    found = here.to(cuda).criterion_of(stack).values
    torch.testing.assert_close(found, here.criterion_of(stack).values, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("layer", ["convolution", "recurrent"])
def test_float32_is_float32(layer, cuda):
    """TF32, which PyTorch lets cuDNN take, would be off by 1e-4 and more."""
    torch.manual_seed(0)
    if layer == "convolution":
        model = nn.Sequential(nn.Conv2d(8, 32, 5), nn.ReLU(), nn.Flatten(), nn.Linear(2048, 1))
        inputs = torch.randn(64, 8, 12, 12)
    else:
        model, inputs = PROBLEMS["lstm"].module(torch.float32), torch.randn(64, 4, 3)
    target = torch.zeros(64, 1 if layer == "convolution" else 2)
    objective = Objective(model, functional.mse_loss, train=(inputs, target))
    stack = objective.theta(model)[None]
    truth = float(objective.double().criterion_of(stack.double()).values)
    value = float(objective.to(cuda).criterion_of(stack).values)
    assert value == pytest.approx(truth, rel=1e-6)


def test_a_plane_reuses_the_first_layer_there(cuda):
    here = PROBLEMS["mlp"].build(torch.float32)
    stack = random_stack(here, 3)
    grid = torch.cartesian_prod(torch.linspace(-1, 1, 9), torch.linspace(-1, 1, 9))
    values = [
        evaluate_on(o, stack[0], stack[1:], grid, "train", (Criterion(),)).values
        for o in (here, here.to(cuda))
    ]
    torch.testing.assert_close(values[1], values[0], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("problem", ["mlp", "wide convolutions"])
def test_the_same_seed_trains_the_same_networks(problem, cuda):
    """Left to itself, cuDNN takes gradients of convolutions whose last bits differ every time."""
    if problem == "mlp":
        here = PROBLEMS["mlp"].build(torch.float32, training=Training(learning_rate=0.05))
    else:
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(1, 32, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 5), nn.ReLU(),
            nn.Flatten(), nn.Linear(64 * 8 * 8, 10),
        )  # fmt: skip
        data = torch.randn(400, 1, 28, 28), torch.randint(10, (400,))
        here = Objective(
            model, functional.cross_entropy, train=data, training=Training(batch_size=100)
        )
    there = here.to(cuda)
    stack = random_stack(there, 3) / 10
    before = float(there.criterion_of(stack).values.max())
    runs = [train(there, list(stack), 0.7 * before, seed=4) for _ in range(2)]
    for one, other in zip(*runs, strict=True):
        assert torch.equal(one.theta, other.theta)
        assert math.isfinite(one.criterion)
        assert one.criterion <= 0.7 * before
