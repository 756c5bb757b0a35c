"""Local response normalization by a band of ones, held against torch's."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from thalweg.objective import Objective
from thalweg.objective.normalization import BandedResponseNorm, with_fast_normalization


@pytest.mark.parametrize(
    "shape", [(2, 7, 3), (2, 12, 3, 4), (1, 5, 2, 2, 3), (3, 1, 4), (1, 600, 2)]
)
@pytest.mark.parametrize("size", [1, 2, 4, 5, 9])
@pytest.mark.parametrize("beta", [0.75, 0.5, 1.3])
def test_values_and_gradients_are_those_of_torch(shape, size, beta):
    generator = torch.Generator().manual_seed(0)
    x = 4 * torch.randn(shape, generator=generator, dtype=torch.float64)
    weight = torch.randn(shape, generator=generator, dtype=torch.float64)
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    got = BandedResponseNorm(size, 0.3, beta, 1.5)(ours)
    expected = nn.LocalResponseNorm(size, 0.3, beta, 1.5)(theirs)
    torch.testing.assert_close(got, expected, rtol=1e-13, atol=1e-14)
    (got * weight).sum().backward()
    (expected * weight).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-12, atol=1e-13)


def test_what_torch_refuses_is_refused():
    with pytest.raises(ValueError, match="3D or higher"):
        BandedResponseNorm(3, 0.1, 0.75, 1.0)(torch.ones(2, 4))


def test_only_plain_layers_are_replaced():
    plain, hooked = nn.LocalResponseNorm(3), nn.LocalResponseNorm(3)

    def twice(module: nn.Module, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> Any:
        return 2 * output

    hooked.register_forward_hook(twice)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), plain, hooked)
    fast = with_fast_normalization(model)
    assert [type(layer).__name__ for layer in fast.children()] == [
        "Conv2d", "BandedResponseNorm", "LocalResponseNorm"
    ]  # fmt: skip
    assert model[1] is plain
    image = torch.rand(2, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(fast(image), model(image))
    without = nn.Sequential(nn.Conv2d(1, 4, 3), hooked)
    assert with_fast_normalization(without) is without


@pytest.mark.parametrize("strategy", ["loop", "vmap"])
def test_an_objective_evaluates_and_differentiates_as_the_model_itself(strategy):
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.ReLU(), nn.LocalResponseNorm(5, 0.1), nn.Flatten(), nn.Linear(54, 3)
    )
    images = torch.rand(16, 1, 5, 5, generator=generator)
    labels = torch.randint(0, 3, (16,), generator=generator)
    objective = Objective(
        model, nn.functional.cross_entropy, train=(images, labels), strategy=strategy
    )
    stack = 0.3 * torch.randn(3, objective.layout.size, generator=generator)
    got = objective.gradients(stack, (images, labels))
    values = objective.criterion_of(stack).values
    for i, row in enumerate(stack):
        theta = row.clone().requires_grad_()
        output = torch.func.functional_call(model, objective.layout.unflatten(theta), images)
        loss = nn.functional.cross_entropy(output, labels)
        torch.testing.assert_close(values[i].item(), loss.item(), rtol=1e-5, atol=1e-6)
        (gradient,) = torch.autograd.grad(loss, theta)
        torch.testing.assert_close(got.gradients[i], gradient, rtol=1e-4, atol=1e-6)
