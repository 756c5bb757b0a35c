"""Every rule: the enclosure holds, and its remainder shrinks with the square of the interval."""

from __future__ import annotations

import math

import pytest
import torch

from tests.certify.taylor_problems import CASES, case, enclosed, output

POINTS = torch.linspace(-1, 1, 41, dtype=torch.float64).tolist()


def assert_enclosed(name: str, seed: int, halfwidth: float) -> None:
    made, center, direction = case(name, seed)
    model = enclosed(made, center, direction, halfwidth)
    value, slope, remainder = model.value, model.slope, model.remainder
    assert slope is not None
    assert remainder is not None
    assert bool((remainder >= 0).all()) or not bool(remainder.isfinite().all())
    for s in POINTS:
        truth = output(made, center + s * halfwidth * direction)
        # The plain evaluation rounds, too: that error is no part of the enclosure.
        slack = 1e-13 * (1 + truth.abs())
        distance = (truth - value - slope * s).abs()
        assert not bool((distance > remainder + slack).any()), (name, seed, halfwidth, s)


@pytest.mark.parametrize("name", CASES)
def test_the_enclosure_holds(name: str) -> None:
    for seed, halfwidth in enumerate((0.0, 1e-3, 0.1, 0.5, 2.0)):
        assert_enclosed(name, seed, halfwidth)


@pytest.mark.parametrize("name", CASES)
def test_the_remainder_is_of_second_order(name: str) -> None:
    made, center, direction = case(name, 0)
    sizes = []
    for halfwidth in (2e-4, 2e-5):
        remainder = enclosed(made, center, direction, halfwidth).remainder
        assert remainder is not None
        sizes.append(float(remainder.max()))
    # Affine maps leave nothing but rounding.
    assert sizes[1] < 1e-12 or math.log10(sizes[0] / sizes[1]) > 1.9
    assert sizes[0] < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_the_enclosure_holds_on_many_draws(name: str) -> None:
    for seed in range(40):
        assert_enclosed(name, seed + 100, 10 ** (-3 + 3.5 * (seed % 8) / 7))
