"""Sampled certificates held against functions whose maximum is known."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.helpers import Field, landscape, point
from thalweg import Certificate, Criterion, InputError, Objective, bound_segment


@dataclass(frozen=True)
class Curve:
    """A positive function of t in [0, 1] and its maximum."""

    name: str
    field: Field
    maximum: float

    def certify(self, threshold: float | None = None) -> Certificate:
        return bound_segment(
            landscape(self.field), point(0.0), point(1.0), threshold, kind="sampled"
        )


def trigonometric(seed: int) -> Curve:
    rng = np.random.default_rng(seed)
    a, b = (torch.from_numpy(rng.normal(size=6)) for _ in "ab")
    k = 2 * math.pi * torch.arange(1, 7).double()

    def field(w: Tensor) -> Tensor:
        return 20 + (a * torch.sin(k * w) + b * torch.cos(k * w)).sum()

    t = torch.linspace(0, 1, 100_001).double()[:, None]
    values = 20 + (a * torch.sin(k * t) + b * torch.cos(k * t)).sum(1)
    return Curve(f"trigonometric {seed}", field, float(values.max()))


def quartic(seed: int) -> Curve:
    c = torch.from_numpy(np.random.default_rng(seed).normal(size=5))

    def field(w: Tensor) -> Tensor:
        return 10 + (c * w[0] ** torch.arange(5)).sum()

    roots = np.polynomial.Polynomial(c.numpy()).deriv().roots()
    inside = [r.real for r in roots if abs(r.imag) < 1e-12 and 0 < r.real < 1]
    top = max(float(field(torch.tensor([t]).double())) for t in [0.0, 1.0, *inside])
    return Curve(f"quartic {seed}", field, top)


def gaussian(width: float, seed: int) -> Curve:
    centre = np.random.default_rng(seed).uniform(0.01, 0.99)

    def field(w: Tensor) -> Tensor:
        return 0.5 + torch.exp(-(((w[0] - centre) / width) ** 2) / 2)

    return Curve(f"gaussian {width} at {centre:.4f}", field, 1.5)


def piecewise_linear(seed: int) -> Curve:
    rng = np.random.default_rng(seed)
    knots = torch.from_numpy(np.concatenate([[0], np.sort(rng.uniform(size=5)), [1]]))
    heights = torch.from_numpy(rng.uniform(1, 2, size=7))

    def field(w: Tensor) -> Tensor:
        share = ((w[0] - knots[:-1]) / knots.diff()).clamp(0, 1)
        return heights[0] + (share * heights.diff()).sum()

    return Curve(f"piecewise linear {seed}", field, float(heights.max()))


SMOOTH = [
    *(trigonometric(seed) for seed in range(4)),
    *(quartic(seed) for seed in range(4)),
    *(gaussian(width, seed) for width in (0.3, 0.05, 0.01, 0.003) for seed in range(3)),
]
ALL = [*SMOOTH, *(piecewise_linear(seed) for seed in range(4))]


def named(curve: Curve) -> str:
    return curve.name


@pytest.mark.parametrize("curve", SMOOTH, ids=named)
def test_the_bound_of_a_smooth_function_is_above_its_maximum_and_within_one_percent(curve):
    certificate = curve.certify()
    assert certificate.bound is not None
    assert curve.maximum * (1 - 1e-12) <= certificate.bound <= 1.01 * curve.maximum
    assert certificate.seen <= curve.maximum * (1 + 1e-9)
    assert certificate.accepted
    assert certificate.kind == "sampled"


@pytest.mark.parametrize("curve", ALL, ids=named)
def test_a_function_above_the_threshold_by_a_thousandth_is_refused(curve):
    certificate = curve.certify(curve.maximum / 1.001)
    assert not certificate.accepted
    assert certificate.seen > curve.maximum / 1.001 or certificate.bound is not None


@pytest.mark.parametrize("curve", ALL, ids=named)
def test_a_function_below_the_threshold_by_a_thousandth_is_accepted(curve):
    threshold = curve.maximum * 1.001
    certificate = curve.certify(threshold)
    assert certificate.accepted
    assert certificate.bound is not None
    assert certificate.seen <= certificate.bound <= threshold


@pytest.mark.parametrize("place", [0.5037, 0.0149, 0.98511])
def test_a_spike_between_the_points_of_a_hundred_point_grid_is_found(place):
    """Half as wide as the grid, centred between two of its points: the grid sees nothing."""

    def field(w: Tensor) -> Tensor:
        return 0.01 + torch.relu(1 - (w[0] - place).abs() / 0.0035)

    grid = [float(field(point(i / 100))) for i in range(101)]
    assert max(grid) < 0.05
    certificate = bound_segment(
        landscape(field), point(0.0), point(1.0), threshold=0.1, kind="sampled"
    )
    assert not certificate.accepted
    assert certificate.seen > 0.1


def crossing(examples: int = 400) -> tuple[Objective, float]:
    """A classifier whose error rate along w from 0 to 1 climbs in steps to a known plateau."""
    torch.manual_seed(0)
    x = torch.rand(examples, 1, dtype=torch.float64)
    model = torch.nn.Linear(1, 1, bias=False).double()

    def rate(output: Tensor, target: Tensor) -> Tensor:
        # the output is w·x; wrong where w(1 − w)·x exceeds a level of its own
        w = output / target
        return (w * (1 - w) * 4 * target > 0.6).double()

    objective = Objective(
        model, torch.nn.functional.mse_loss, train=(x, x),
        criterion=Criterion(rate, nonnegative=True),
    )  # fmt: skip
    return objective, float((x > 0.6).double().mean())


def test_an_error_rate_that_climbs_in_steps_is_refused_above_and_accepted_at_its_maximum():
    objective, maximum = crossing()
    ends = point(1e-9), point(1.0)
    assert not bound_segment(objective, *ends, maximum - 1e-3, kind="sampled").accepted
    loose = bound_segment(objective, *ends, maximum * 1.05, kind="sampled")
    assert loose.accepted
    assert loose.seen == pytest.approx(maximum, abs=1e-12)


@pytest.mark.parametrize("end", [0.0, 1.0])
def test_an_end_above_the_threshold_is_refused(end):
    def field(w: Tensor) -> Tensor:
        return 1 + (w[0] - end).abs().neg().exp()

    certificate = bound_segment(
        landscape(field), point(0.0), point(1.0), threshold=1.999, kind="sampled"
    )
    assert not certificate.accepted
    assert certificate.seen == 2.0
    assert certificate.argmax == end


def test_every_point_that_is_evaluated_is_counted_and_both_ends_are_among_them():
    seen: list[float] = []

    def field(w: Tensor) -> Tensor:
        seen.append(float(w[0]))
        return 1 + w[0] * (1 - w[0])

    objective = landscape(field, strategy="loop")
    objective.criterion_of(torch.zeros(64, 1).double())  # strategies are measured once
    seen.clear()
    certificate = bound_segment(objective, point(0.0), point(1.0), threshold=1.3, kind="sampled")
    assert certificate.accepted
    assert {0.0, 1.0, 0.5} <= set(seen)
    assert len(set(seen)) == certificate.evaluations
    assert max(np.diff(sorted(set(seen)))) <= 1 / 8


def test_a_refusal_stops_early():
    def field(w: Tensor) -> Tensor:
        return 1 + w[0] * (1 - w[0])

    refused = bound_segment(landscape(field), point(0.0), point(1.0), threshold=1.2, kind="sampled")
    accepted = bound_segment(
        landscape(field), point(0.0), point(1.0), threshold=1.3, kind="sampled"
    )
    assert not refused.accepted
    assert refused.bound is None
    assert (refused.argmax, refused.seen, refused.half) == (0.5, 1.25, 1.25)
    assert refused.evaluations == 3
    assert refused.samples < accepted.samples


@pytest.mark.parametrize("level", [0.25, 0.1, 1 / 3])
def test_a_constant_at_exactly_the_threshold_is_accepted(level):
    def field(w: Tensor) -> Tensor:
        return 0 * w[0] + level

    certificate = bound_segment(
        landscape(field), point(0.0), point(1.0), threshold=level, kind="sampled"
    )
    assert certificate.accepted
    assert certificate.seen == level


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("where", [0.5, 0.25, 0.8])
def test_a_value_that_is_not_finite_is_never_accepted(bad, where):
    def field(w: Tensor) -> Tensor:
        return torch.where((w[0] - where).abs() < 0.01, torch.full_like(w[0], bad), 0.1)

    for threshold in (1.0, None):
        certificate = bound_segment(
            landscape(field), point(0.0), point(1.0), threshold, kind="sampled"
        )
        assert not certificate.accepted
        assert certificate.bound is None


def test_an_unknown_kind_is_refused():
    objective = landscape(lambda w: w[0] ** 2)
    with pytest.raises(InputError, match="'divine'"):
        bound_segment(objective, point(0.0), point(1.0), kind="divine")
