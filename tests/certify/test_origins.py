"""Errors carried back with their signs: no functional of them is above its bound."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn import functional as F

from tests.certify.taylor_problems import flat, problem
from tests.certify.test_taylor_soundness import check
from thalweg.certify import rules_convolution, rules_linear, single
from thalweg.certify.enclosure import enclose, evaluate, run, segment_parameters
from thalweg.certify.origins import Origin, bound_functional
from thalweg.certify.rearranged import rearranged
from thalweg.certify.taylor import TaylorModel, UnsupportedOperation


def convnet() -> tuple[nn.Module, Tensor]:
    model = nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d((2, 3)), nn.Flatten(),
        nn.Linear(16, 9), nn.LeakyReLU(0.1), nn.Dropout(), nn.Linear(9, 3),
    )  # fmt: skip
    images = torch.randn(5, 1, 8, 12)
    images[:, :, :4] = 0  # ties of the first pooling
    return model, images


def strided() -> tuple[nn.Module, Tensor]:
    model = nn.Sequential(
        nn.Conv2d(2, 3, 3, stride=2), nn.ReLU(), nn.Conv2d(3, 4, 2, dilation=2, bias=False),
        nn.ReLU(), nn.MaxPool2d(2, padding=1), nn.Flatten(), nn.Linear(16, 3),
    )  # fmt: skip
    return model, torch.randn(5, 2, 12, 12)


def dense() -> tuple[nn.Module, Tensor]:
    layers = [nn.Linear(4, 12), nn.ReLU(), nn.Linear(12, 12), nn.ReLU(), nn.Linear(12, 12)]
    return nn.Sequential(*layers, nn.ReLU(), nn.Linear(12, 3)), torch.randn(5, 4)


NETWORKS = {"convolutional": convnet, "strided": strided, "dense": dense}


@pytest.fixture(params=["single", "by ends", "double"])
def precision(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Of what is of first order; by ends, of values as well, however narrow the piece."""
    if request.param != "double":
        for module in (single, rules_convolution):
            monkeypatch.setattr(module, "SMALL", 0)
        for module in (rules_linear, rules_convolution):
            monkeypatch.setattr(module, "ends_will_do", lambda *_: request.param == "by ends")
    monkeypatch.setattr(single, "BLOCK", 4)
    monkeypatch.setattr(rules_convolution, "_BLOCK", 10)
    return request.param


def draw(name: str, seed: int, measure: str = "loss") -> tuple[Any, Tensor, Tensor]:
    torch.manual_seed(seed)
    model, x = NETWORKS[name]()
    made = problem(model, x, torch.randint(3, (len(x),)), F.cross_entropy, measure)
    center = flat(model)
    return made, center, torch.randn_like(center) * center.abs().mean() * 3


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("measure", ["loss", "error_rate", "perplexity"])
@pytest.mark.usefixtures("precision")
def test_no_value_is_above_the_bound(name: str, measure: str) -> None:
    for seed in range(3):
        for halfwidth in (3e-3, 3e-2, 0.2):
            check(*draw(name, seed, measure), halfwidth)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.usefixtures("precision")
def test_no_functional_of_the_errors_is_above_its_bound(name: str) -> None:
    for seed, halfwidth in enumerate((1e-3, 1e-2, 1e-2, 5e-2, 5e-2, 0.2)):
        made, center, direction = draw(name, seed)
        made = rearranged(made)
        slope, spread = direction * halfwidth, center.abs() * 1e-3
        (inputs, _), points = made.splits["train"].select(slice(None)), 1001
        s = torch.linspace(-1, 1, points, dtype=torch.float64)
        # As far from the line as is allowed, in a random direction at each point.
        away = torch.randint(-1, 2, (points, len(center))) * spread
        thetas = center + s[:, None] * slope + away

        def one(theta: Tensor, made: Any = made, inputs: Any = inputs) -> Tensor:
            return functional_call(made.model, made.layout.unflatten(theta), (inputs,))

        with torch.no_grad():
            truth = vmap(one)(thetas)
            out = run(made, segment_parameters(made, center, slope, spread), inputs)
        assert out.slope is not None
        assert out.remainder is not None
        assert out.origin is not None
        errors = truth - out.value - s[:, None, None] * out.slope
        owner = torch.arange(len(inputs)).repeat_interleave(20)
        g = torch.randn(len(owner), 3, dtype=torch.float64)
        bound = bound_functional(out.remainder, out.origin, g, owner)
        seen = (errors[:, owner] * g).sum(-1).abs().amax(0)
        assert bool((seen <= bound * (1 + 1e-9) + 1e-12).all())
        assert bool((bound <= (g.abs() * out.remainder[owner]).sum(-1) * (1 + 1e-9)).all())


STEPS: dict[str, Callable[[Any], Any]] = {
    "max_pool": lambda x: F.max_pool2d(x, (2, 1)),
    "max_pool of three": lambda x: F.max_pool2d(x, (1, 3)),
    "relu": torch.relu,
    "leaky_relu": lambda x: F.leaky_relu(x, 0.3),
    "abs": torch.abs,
    "reshape": lambda x: x.reshape(4, 3, 12).flatten(1),
}


@pytest.mark.parametrize("name", STEPS)
def test_what_one_step_adds_to_an_error_is_at_most_fresh(name: str) -> None:
    torch.manual_seed(0)
    shape = (4, 2, 6, 3) if "three" in name else (4, 1, 6, 6)
    value, slope, noise = torch.randn(3, *shape, dtype=torch.float64)
    noise = noise.abs()
    for part in (value, slope):  # the same lines, with errors that differ
        part[:2] = part[:2, :, :1, :1].clone()
    noise[0] = noise[0, :, :1, :1].clone()  # errors that are bounded alike, too
    value[1:3] *= 0.3
    x = TaylorModel(value, slope, noise)
    x.origin = Origin(noise, None, lambda g, _: g, lambda owner: 0 * value[owner], 0.0)
    out = STEPS[name](x)
    origin = out.origin
    # Each output of each example, one functional: the rows of J.
    outputs = out.value[0].numel()
    owner = torch.arange(len(value)).repeat_interleave(outputs)
    units = torch.eye(outputs, dtype=torch.float64).repeat(len(value), 1)
    rows = origin.pull(units.reshape(-1, *out.value.shape[1:]), owner).flatten(1)
    fresh = origin.fresh(torch.arange(len(value)))
    for s in torch.linspace(-1, 1, 41).tolist():
        for _ in range(50):
            error = torch.randint(-1, 2, shape) * noise
            truth = STEPS[name](value + s * slope + error)
            handed_on = (rows * error.flatten(1)[owner]).sum(1).reshape(out.value.shape)
            rest = truth - out.value - s * out.slope - handed_on
            assert bool((rest.abs() <= fresh + 1e-12).all())


LAYERS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "linear": (lambda x, w: F.linear(x.flatten(1), w.flatten(1)), (2, 3, 4, 4)),
    "convolution": (lambda x, w: F.conv2d(x, w).flatten(1), (2, 3, 4, 4)),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.usefixtures("precision")
def test_a_remainder_covers_errors_that_align_with_the_weights_at_one_end(name: str) -> None:
    torch.manual_seed(1)
    layer, shape = LAYERS[name]
    value, slope, weight, tilt = torch.randn(4, *shape, dtype=torch.float64)
    slope, noise = slope * 1e-6, torch.rand(shape, dtype=torch.float64)
    out = layer(TaylorModel(value, slope, noise), TaylorModel(weight, tilt))
    # A convolution in float64 throughout keeps no origin: all of its remainder is fresh.
    fresh = None if out.origin is None else out.origin.fresh(torch.arange(2))
    for s in (-1, 1):
        for row in range(2):
            kernel = weight + s * tilt
            error = noise * kernel[row].sign()
            away = layer(value + s * slope + error, kernel) - out.value - s * out.slope
            assert bool((away.abs() <= out.remainder + 1e-12).all())
            error = noise * tilt[row].sign()
            away = layer(value + s * slope + error, kernel) - out.value - s * out.slope
            if fresh is not None:
                assert bool(((away - layer(error, weight)).abs() <= fresh + 1e-12).all())


def test_errors_that_two_scores_share_cancel() -> None:
    made, center, direction = draw("dense", 0)
    last = made.model[6]
    with torch.no_grad():
        last.weight[1] = last.weight[0]  # two scores that are always equal
    center = flat(made.model)
    direction[-39:] = 0
    inputs, _ = made.splits["train"].select(slice(None))
    with torch.no_grad():
        out = run(made, segment_parameters(made, center, direction * 0.03, None), inputs)
    assert out.remainder is not None
    g = torch.tensor([[1.0, -1.0, 0.0]], dtype=torch.float64).expand(5, 3)
    bound = bound_functional(out.remainder, out.origin, g, torch.arange(5))
    assert bool((out.remainder[:, 0] > 1e-3).any())
    assert bool((bound < 1e-9).all())


@pytest.mark.parametrize("name", NETWORKS)
def test_the_bound_converges_quadratically(name: str) -> None:
    made, center, direction = draw(name, 7)
    excess = []
    for halfwidth in (1e-3, 1e-4):
        found = enclose(made, center, direction, halfwidth)
        ends = [evaluate(made, center + s * halfwidth * direction) for s in (-1, -0.5, 0, 0.5, 1)]
        excess.append(found.upper - max(ends))
    assert excess[1] < 1e-10 or math.log10(excess[0] / excess[1]) > 1.8


def test_pooling_before_relu_changes_no_value_and_no_name() -> None:
    made, _, _ = draw("convolutional", 0)
    pooled = rearranged(made)
    inputs, _ = made.splits["train"].select(slice(None))
    assert torch.equal(pooled.model(inputs), made.model(inputs))
    names = [[name for name, _ in one.model.named_parameters()] for one in (made, pooled)]
    assert names[0] == names[1]
    order = [node.name for node in pooled.model.graph.nodes]
    assert order[1:7] == ["_0", "pool_0", "_1", "_3", "pool_1", "_4"]


class Branching(nn.Module):
    """Cannot be traced: what it does depends on the numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Conv2d(1, 1, 3), nn.ReLU(), nn.MaxPool2d(2))

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x) if len(x) > 2 else x


def test_a_model_that_cannot_be_traced_is_left_as_it_is() -> None:
    made = problem(Branching(), torch.randn(2, 1, 6, 6), torch.zeros(2))
    assert rearranged(made) is made


class Odd(nn.Module):
    """An operation without a rule."""

    def forward(self, x: TaylorModel) -> Any:
        return torch.special.bessel_j0(x)


def test_a_missing_rule_is_named_with_the_module_of_the_model_as_written() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 1, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Sequential(Odd(), nn.Flatten())
    )
    made = problem(model, torch.randn(2, 1, 6, 6), torch.zeros(2))
    theta = flat(model)
    with pytest.raises(UnsupportedOperation, match="bessel_j0") as caught:
        enclose(made, theta, theta, 0.1)
    assert caught.value.module == "3.0"
