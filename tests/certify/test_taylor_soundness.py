"""Random networks: no value of the criterion, however found, is above its bound."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn import functional as F

from tests.certify.taylor_problems import flat, problem
from thalweg.certify.enclosure import enclose, evaluate

ACTIVATIONS = (
    nn.ReLU, nn.LeakyReLU, nn.Sigmoid, nn.Tanh, nn.Softplus, nn.GELU, nn.SiLU, nn.ELU, nn.ReLU6,
    nn.Softsign, nn.Mish,
)  # fmt: skip


def mlp(depth: int, width: int, outputs: int, kind: int) -> tuple[nn.Module, tuple[int, ...]]:
    layers: list[nn.Module] = []
    features = 3
    for level in range(depth):
        layers += [nn.Linear(features, width), ACTIVATIONS[(kind + level) % len(ACTIVATIONS)]()]
        if (kind + level) % 4 == 3 and width > 1:
            layers.append(nn.LayerNorm(width))
        features = width
    return nn.Sequential(*layers, nn.Linear(features, outputs)), (3,)


def convnet(depth: int, width: int, outputs: int, kind: int) -> tuple[nn.Module, tuple[int, ...]]:
    layers: list[nn.Module] = []
    channels = 1
    for level in range(min(depth, 2)):
        layers += [nn.Conv2d(channels, width, 3, padding=1), ACTIVATIONS[kind % len(ACTIVATIONS)]()]
        layers.append((nn.MaxPool2d, nn.AvgPool2d)[(kind + level) % 2](2))
        if kind % 3 == 0:
            layers.append(nn.BatchNorm2d(width))
        channels = width
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, outputs)]
    return nn.Sequential(*layers), (1, 6, 6)


class Recurrent(nn.Module):
    """The last output of a recurrent layer, read out."""

    def __init__(self, width: int, outputs: int, kind: int) -> None:
        super().__init__()
        self.layer = (nn.LSTM, nn.GRU, nn.RNN)[kind % 3](2, width, batch_first=True)
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(x)[0][:, -1])


def recurrent(depth: int, width: int, outputs: int, kind: int) -> tuple[nn.Module, tuple[int, ...]]:
    return Recurrent(min(width, 4), outputs, kind), (1 + depth, 2)


LOSSES: tuple[Any, ...] = (
    F.cross_entropy, "error_rate", "perplexity", F.mse_loss, F.l1_loss,
    F.binary_cross_entropy_with_logits, nn.CrossEntropyLoss(label_smoothing=0.1),
    lambda output, target: F.nll_loss(F.log_softmax(output, 1), target),
    lambda output, target: (output - target).pow(2).mean(1),
)  # fmt: skip
REAL = {3, 4, 5, 8}


def draw(
    family: int, depth: int, width: int, kind: int, loss: int, seed: int
) -> tuple[Any, Tensor, Tensor]:
    torch.manual_seed(seed)
    outputs = 2 + seed % 3
    make = (mlp, mlp, convnet, recurrent)[family]
    model, shape = make(depth, width, outputs, kind)
    x = torch.randn(6, *shape)
    target = torch.rand(6, outputs).double() if loss in REAL else torch.randint(outputs, (6,))
    chosen = LOSSES[loss]
    measure = chosen if isinstance(chosen, str) else "loss"
    function = F.cross_entropy if isinstance(chosen, str) else chosen
    made = problem(model, x, target, function, measure)
    center = flat(model)
    return made, center, torch.randn_like(center) * center.abs().mean() * 3


def values(made: Any, thetas: Tensor) -> Tensor:
    """The criterion at each of many points `[k, p]`."""
    inputs, target = made.splits["train"].select(slice(None))
    loss = made.criterion.per_example(made.loss)

    def one(theta: Tensor) -> Tensor:
        out = functional_call(made.model, made.layout.unflatten(theta), (inputs,))
        return made.criterion.finish(loss(out, target).mean())

    with torch.no_grad():
        if isinstance(made.model, Recurrent):
            return torch.stack([one(theta) for theta in thetas[::10]])
        return vmap(one)(thetas)


def check(made: Any, center: Tensor, direction: Tensor, halfwidth: float) -> None:
    found = enclose(made, center, direction, halfwidth)
    grid = torch.linspace(-halfwidth, halfwidth, 1001, dtype=torch.float64)
    seen = values(made, center + grid[:, None] * direction)
    worst = grid[:: 10 if isinstance(made.model, Recurrent) else 1][int(seen.argmax())].item()
    step = halfwidth / 100
    if step > 0:
        low, high = max(-halfwidth, worst - step), min(halfwidth, worst + step)
        best: Any = minimize_scalar(
            lambda s: -evaluate(made, center + s * direction), bounds=(low, high),
            method="bounded", options={"maxiter": 12},
        )  # fmt: skip
        seen = torch.cat([seen, torch.tensor([-float(best.fun)], dtype=torch.float64)])
    # Plain evaluation rounds, too.
    slack = 1e-12 * (1 + abs(float(seen.max())))
    assert float(seen.max()) <= found.upper + slack
    middle = evaluate(made, center)
    assert found.seen - slack <= middle <= found.middle + slack


NETWORKS: Any = {
    "family": st.integers(0, 3), "depth": st.integers(1, 4), "width": st.integers(1, 16),
    "kind": st.integers(0, 10), "loss": st.integers(0, len(LOSSES) - 1),
    "seed": st.integers(0, 10**6), "size": st.floats(-4, 0.3),
}  # fmt: skip


@settings(max_examples=60)
@given(**NETWORKS)
def test_no_value_is_above_the_bound(
    family: int, depth: int, width: int, kind: int, loss: int, seed: int, size: float
) -> None:
    check(*draw(family, depth, width, kind, loss, seed), 10**size)


@pytest.mark.slow
@settings(max_examples=4000)
@given(**NETWORKS)
def test_no_value_is_above_the_bound_on_thousands_of_networks(
    family: int, depth: int, width: int, kind: int, loss: int, seed: int, size: float
) -> None:
    check(*draw(family, depth, width, kind, loss, seed), 10**size)


@pytest.mark.parametrize("loss", [0, 2, 3, 4, 5, 6, 7, 8])
def test_the_bound_of_the_criterion_converges_quadratically(loss: int) -> None:
    made, center, direction = draw(0, 2, 8, 1, loss, 7)
    excess = []
    for halfwidth in (1e-2, 1e-3):
        found = enclose(made, center, direction, halfwidth)
        ends = [evaluate(made, center + s * halfwidth * direction) for s in (-1, -0.5, 0, 0.5, 1)]
        excess.append(found.upper - max(ends))
    assert excess[1] < 1e-10 or math.log10(excess[0] / excess[1]) > 1.8


def test_errors_at_different_places_do_not_add_up() -> None:
    # Two examples, each wrong on a half of the segment only: never both at once.
    model = nn.Linear(1, 2, bias=False)
    x, y = torch.tensor([[1.0], [-1.0]]), torch.tensor([0, 0])
    made = problem(model, x, y, measure="error_rate")
    direction = torch.tensor([1.0, -1.0], dtype=torch.float64)
    found = enclose(made, torch.zeros(2).double() + 0.001 * direction, direction, 0.9)
    assert found.upper <= 1.0
    apart = enclose(made, 0.5 * direction, direction, 0.4)
    assert apart.upper == 0.5
    assert apart.seen == 0.5
