"""Enclosures of second derivatives, a-priori rounding bounds and boxes, against exact values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath
import pytest
import torch
from mpmath import mpf
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn import functional as F

from tests.certify.chord_problems import ACTIVATIONS, LOSSES, Drawn, chain, draw
from thalweg.certify.boxes import Boxes, group
from thalweg.certify.convex_loss import CrossEntropy, convex_loss
from thalweg.certify.jets import Interval
from thalweg.certify.smooth_activation import Activation, activation_of
from thalweg.certify.smooth_chain import SmoothChain
from thalweg.objective import Objective
from thalweg.objective.chain import Elementwise


def chain_of(drawn: Drawn) -> SmoothChain:
    found = SmoothChain.of(drawn.objective)
    assert isinstance(found, SmoothChain)
    return found


def curved(drawn: Drawn, t: float) -> tuple[Tensor, Tensor]:
    """Outputs and their second derivatives along the segment, by automatic differentiation."""
    twin = drawn.objective.double()
    inputs, _ = twin.splits["train"].select(slice(None))
    start, end = drawn.start.double(), drawn.end.double()

    def one(s: Tensor, x: Tensor) -> Tensor:
        parameters = twin.layout.unflatten(start + s * (end - start))
        return functional_call(twin.model, parameters, (x[None],))[0]

    # A t of its own for every example, so that sums over examples have their derivatives apart.
    at = torch.full((len(inputs),), t, dtype=torch.float64, requires_grad=True)
    output = vmap(one)(at, inputs)
    columns = []
    for column in output.unbind(1):
        (slope,) = torch.autograd.grad(column.sum(), at, create_graph=True)
        columns.append(torch.autograd.grad(slope.sum(), at, retain_graph=True)[0])
    return output.detach(), torch.stack(columns, 1)


@pytest.mark.parametrize("seed", range(24))
def test_a_curvature_is_at_least_the_mean_of_slope_times_second_derivative(seed: int) -> None:
    drawn = draw(1 + seed % 4, 1 + seed % 7, 1 + seed % 2, seed, seed % len(LOSSES), seed)
    found = chain_of(drawn)
    twin = drawn.objective.double()
    _, target = twin.splits["train"].select(slice(None))
    start, end = drawn.start[None].double(), drawn.end[None].double()
    for left, width in ((0.0, 1.0), (0.3, 0.1), (0.62, 1e-3)):
        ends = (
            torch.tensor([left], dtype=torch.float64),
            torch.tensor([left + width], dtype=torch.float64),
        )
        bound = float(found.curvatures(start, end, *ends))
        for share in (0.0, 0.35, 1.0):
            output, second = curved(drawn, left + share * width)
            output.requires_grad_()
            loss: Any = twin.loss(output, target)
            (slopes,) = torch.autograd.grad(loss, output)  # those of the mean
            exact = float(-(slopes * second).sum())
            assert exact <= bound + 1e-12 * (1 + abs(exact))


def inside(drawn: Drawn, left: float, width: float) -> bool:
    """Whether outputs and second derivatives lie in the enclosures of their examples' boxes."""
    found = chain_of(drawn)
    x = found.boxes.inputs
    distance = (found.inputs[:, :, None] - x.center[:, None]).abs() <= x.radius[:, None]
    boxes = distance.all(0)  # of each example; a point on a border may lie in two
    if found.target.ndim == 1:
        boxes &= found.target[:, None] == found.boxes.target_lower
    output, second = found.enclose(
        drawn.start[None].double(), drawn.end[None].double(),
        *torch.tensor([[left], [left + width]], dtype=torch.float64),
    )  # fmt: skip
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        for exact, interval in zip(
            curved(drawn, left + share * width), (output, second), strict=True
        ):
            apart = (exact.T[:, :, None] - interval.center[0, :, None]).abs()
            fits = apart <= interval.radius[0, :, None] + 1e-12 * (1 + exact.T[:, :, None].abs())
            if not bool((fits.all(0) | ~boxes).all()):
                return False
    return True


@pytest.mark.parametrize("width", [1.0, 0.1, 1e-3])
def test_outputs_and_their_second_derivatives_are_enclosed(width: float) -> None:
    for seed in range(12):
        shape = 1 + seed % 4, 1 + seed % 5, 1 + seed % 2
        assert inside(draw(*shape, seed, 0, seed, 10 ** (seed % 3 - 1.0)), 0.3 - 0.3 * width, width)


def test_enclosures_of_one_unit_leave_little_room() -> None:
    # One unit and one example: what is lost by intervals is small, so that nothing can be missing.
    for seed in range(8):
        drawn = draw(1, 1, 1, seed, 0, seed, examples=1)
        assert inside(drawn, 0.0, 1.0)
        output, second = chain_of(drawn).enclose(
            drawn.start[None].double(), drawn.end[None].double(),
            torch.tensor([0.0], dtype=torch.float64), torch.tensor([0.02], dtype=torch.float64),
        )  # fmt: skip
        for k, interval in enumerate((output, second)):
            exact = torch.stack([curved(drawn, 0.02 * i / 10)[k] for i in range(11)]).amax(0)
            assert float((interval.upper[0].T - exact).max()) < 0.05 * (
                1 + float(exact.abs().max())
            )


@pytest.mark.parametrize("depth", [1, 3])
def test_a_curvature_is_tight_on_a_narrow_piece_of_one_example(depth: int) -> None:
    torch.manual_seed(depth)
    model = chain(depth, 5, 2, 1, 1)
    x = torch.randn(1, 2)
    made = Objective(model, F.l1_loss, train=(x, torch.full((1, 1), -100.0)))  # a slope of one
    start = made.theta(model)
    drawn = Drawn(made, start, start + torch.randn_like(start))
    bound = chain_of(drawn).curvatures(
        start[None].double(), drawn.end[None].double(),
        torch.tensor([0.5], dtype=torch.float64), torch.tensor([0.5 + 1e-7], dtype=torch.float64),
    )  # fmt: skip
    _, second = curved(drawn, 0.5)
    assert float(bound) == pytest.approx(-float(second), rel=1e-4, abs=1e-6)


EXACT: dict[type[nn.Module], Callable[[Any], Any]] = {
    nn.Sigmoid: lambda y: 1 / (1 + mpmath.exp(-y)),
    nn.Tanh: mpmath.tanh,
    nn.SiLU: lambda y: y / (1 + mpmath.exp(-y)),
    nn.GELU: lambda y: y * mpmath.ncdf(y),
    nn.Softplus: lambda y: mpmath.log(1 + mpmath.exp(y)),
    nn.LogSigmoid: lambda y: -mpmath.log(1 + mpmath.exp(-y)),
}


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_what_is_said_of_an_activation_is_true(kind: type[nn.Module]) -> None:
    found = activation_of(Elementwise(kind()))
    assert isinstance(found, Activation)
    grid = torch.linspace(-18, 18, 241, dtype=torch.float64)
    function, family = EXACT[kind], found.family
    for y, value, f, f1, f2 in zip(
        grid, found.function(grid), family.function(grid), family.first(grid),
        family.second(grid), strict=True,
    ):  # fmt: skip
        at = mpf(float(y))
        exact = function(at)
        for ours in (value, f):
            assert abs(exact - float(ours)) <= 16 * 2.0**-53 * (abs(exact) + 1)
        assert abs(mpmath.diff(function, at) - float(f1)) < 1e-9
        assert abs(mpmath.diff(function, at, 2) - float(f2)) < 1e-6
    assert float(family.first(grid).abs().max()) <= found.lipschitz
    assert float(family.function(grid).abs().max()) <= found.ceiling
    assert abs(function(mpf(0))) <= found.at_zero


@pytest.mark.parametrize("kind", range(6))
@pytest.mark.parametrize("loss", [0, 1, 2])
def test_the_error_of_a_value_is_within_its_bound(kind: int, loss: int) -> None:
    drawn = draw(2, 3, 2, kind + 6, loss, kind, examples=5)
    found = chain_of(drawn)
    start, end = drawn.start[None].double(), drawn.end[None].double()
    absolute, relative = found.errors(start, end)
    inputs, target = drawn.objective.double().splits["train"].select(slice(None))
    layers = list(drawn.objective.double().model)
    for t in (0.0, 0.3, 1.0):
        value = float(found.values(start + (end - start) * t)[0])
        names = {
            name: (a.flatten().tolist(), b.flatten().tolist(), a.shape)
            for (name, a), b in zip(
                found.layout.unflatten(start[0]).items(),
                found.layout.unflatten(end[0]).values(), strict=True,
            )
        }  # fmt: skip
        with mpmath.workdps(40):
            exact = {
                name: [mpf(x) + mpf(t) * (mpf(y) - mpf(x)) for x, y in zip(a, b, strict=True)]
                for name, (a, b, _) in names.items()
            }
            total = mpf(0)
            for row, wanted in zip(inputs.tolist(), target.tolist(), strict=True):
                hidden = [mpf(x) for x in row]
                for i, layer in enumerate(layers):
                    if not isinstance(layer, nn.Linear):
                        hidden = [EXACT[type(layer)](y) for y in hidden]
                        continue
                    d = len(hidden)
                    w, b = exact[f"{i}.weight"], exact.get(f"{i}.bias")
                    hidden = [
                        sum((w[o * d + j] * hidden[j] for j in range(d)), b[o] if b else mpf(0))
                        for o in range(layer.out_features)
                    ]
                if loss == 2:
                    total += mpmath.log(sum(mpmath.exp(z) for z in hidden)) - hidden[wanted]
                else:
                    each = [
                        abs(z - mpf(y)) ** (loss + 1) for z, y in zip(hidden, wanted, strict=True)
                    ]
                    total += sum(each) / len(each)
            error = abs(total / len(inputs) - mpf(value))
        assert error <= float(absolute) + relative * abs(value)
        assert float(absolute) + relative * abs(value) < 1e-9


@pytest.mark.parametrize("loss", [loss for loss, _ in LOSSES])
def test_slopes_are_those_of_the_loss(loss: Any) -> None:
    found = convex_loss(loss)
    assert found is not None
    generator = torch.Generator().manual_seed(1)
    labels = isinstance(found, CrossEntropy)
    z = torch.randn(50, 3, generator=generator, dtype=torch.float64).requires_grad_()
    target = torch.rand(50, 3, generator=generator, dtype=torch.float64)
    target = torch.randint(3, (50,), generator=generator) if labels else target
    (slopes,) = torch.autograd.grad(loss(z, target) * 50, z)
    change = torch.randn(50, 3, generator=generator, dtype=torch.float64)
    # Boxes of one example each, without width: the curvature is the exact one.
    point, zero = z.detach().T[None], torch.zeros(1, 3, 50, dtype=torch.float64)
    boxes = Boxes(Interval(zero[0], zero[0]), zero[0, 0], target.t(), target.t())
    bound = found.curvature(Interval(point, zero), Interval(change.T[None], zero), boxes)[0]
    exact = -(slopes * change).sum(1)
    assert bool((exact <= bound + 1e-9).all())
    if not labels:
        assert torch.allclose(exact, bound, atol=1e-9)
    size = torch.tensor([float(z.detach().abs().max())], dtype=torch.float64)
    assert float(slopes.abs().sum(1).max()) <= float(found.slope(size, 1.0))
    total = found.total(z.detach().T[None].clone(), target.t())
    assert float(total) / 50 == pytest.approx(float(loss(z, target).detach()), rel=1e-12)


@pytest.mark.parametrize(("n", "dimensions", "labels"), [(1000, 1, 0), (40, 2, 0), (3000, 2, 3)])
def test_boxes_hold_their_examples(n: int, dimensions: int, labels: int) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(n, dimensions, generator=generator, dtype=torch.float64)
    y = torch.rand(n, 1, generator=generator, dtype=torch.float64)
    target = torch.randint(labels, (n,), generator=generator) if labels else y
    boxes = group(x, target)
    assert isinstance(boxes, Boxes)
    assert float(boxes.share.sum()) == pytest.approx(1)
    inside = (x.T[:, :, None] - boxes.inputs.center[:, None]).abs() <= boxes.inputs.radius[:, None]
    inside = inside.all(0)
    values = target if labels else y[:, 0]
    lower, upper = (end.reshape(-1) for end in (boxes.target_lower, boxes.target_upper))
    inside &= (values[:, None] >= lower) & (values[:, None] <= upper)
    assert bool(inside.any(1).all())
    assert bool((inside.sum(0) >= boxes.share * n - 0.5).all())
    assert len(boxes.share) <= max(n // 8, 128)
