"""Minima, saddles and barriers of landscapes where all of them are known."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch

from tests.geometry.landscapes import (
    MULLER_BROWN_MINIMA,
    MULLER_BROWN_SADDLES,
    monkey,
    muller_brown,
    rastrigin,
    two_wells,
)
from tests.helpers import double_well, landscape, point
from thalweg import InputError, Polygonal
from thalweg.geometry import Kind, classify, climb


def _path(objective, *points) -> Polygonal:
    return Polygonal(torch.stack([point(*p) for p in points]), objective.layout)


@pytest.mark.parametrize("place", [*MULLER_BROWN_MINIMA, *MULLER_BROWN_SADDLES])
def test_critical_points_of_muller_brown_are_what_they_are_known_to_be(place):
    # The literature gives four digits, where the gradient is not yet small.
    found = classify(landscape(muller_brown, 2), point(*place), gradient_tolerance=0.5)
    if place in MULLER_BROWN_MINIMA:
        assert found.kind is Kind.MINIMUM
        assert found.index == found.index_at_most == 0
        assert found.loss == pytest.approx(MULLER_BROWN_MINIMA[place], abs=1e-3)
    else:
        assert found.kind is Kind.SADDLE
        assert found.index == found.index_at_most == 1
        assert found.loss == pytest.approx(MULLER_BROWN_SADDLES[place], abs=1e-3)


@pytest.mark.parametrize("ends", [(0, 1, 0), (1, 2, 1)])
def test_the_climb_ends_on_the_saddle_between_two_neighbours_of_muller_brown(ends):
    objective = landscape(muller_brown, 2)
    minima = list(MULLER_BROWN_MINIMA)
    found = climb(objective, _path(objective, minima[ends[0]], minima[ends[1]]))
    place, height = list(MULLER_BROWN_SADDLES.items())[ends[2]]
    assert found.kind is Kind.SADDLE
    assert found.index == 1
    assert found.loss == pytest.approx(height, abs=1e-4)
    torch.testing.assert_close(found.theta, point(*place), atol=1e-4, rtol=0)


def test_the_highest_saddle_between_the_two_deep_wells_is_the_barrier():
    objective = landscape(muller_brown, 2)
    minima = list(MULLER_BROWN_MINIMA)
    found = climb(objective, _path(objective, minima[0], minima[2]))
    assert found.loss == pytest.approx(max(MULLER_BROWN_SADDLES.values()), abs=1e-4)


def test_the_barrier_of_double_wells_is_one():
    one = landscape(double_well, 1)
    assert climb(one, _path(one, (-1.0,), (1.0,))).loss == pytest.approx(1)
    two = landscape(two_wells, 2)
    found = climb(two, _path(two, (-1.0, 0.0), (0.1, 0.8), (1.0, 0.0)))
    assert found.index == 1
    assert found.loss == pytest.approx(1)
    torch.testing.assert_close(found.theta, torch.zeros(2).double(), atol=1e-6, rtol=0)


def test_rastrigin_has_index_by_the_number_of_half_integer_coordinates():
    objective = landscape(rastrigin, 2)
    # Stationary where 2w + 20π sin 2πw = 0, in each coordinate by itself.
    minimum, maximum = 0.99496, 0.50255
    for place in combinations([0.0, minimum, maximum, -maximum], 2):
        found = classify(objective, point(*place), gradient_tolerance=0.1)
        index = sum(abs(w) == maximum for w in place)
        assert found.index == found.index_at_most == index
        assert found.kind is (Kind.MINIMUM, Kind.SADDLE, Kind.MAXIMUM)[index]


def test_neighbouring_minima_of_rastrigin_join_over_the_known_barrier():
    objective = landscape(rastrigin, 2)
    found = climb(objective, _path(objective, (0.0, 0.0), (0.99496, 0.0)))
    w = torch.linspace(0.4, 0.6, 200001).double()
    height = float((10 + w**2 - 10 * torch.cos(2 * torch.pi * w)).max())
    assert found.index == 1
    assert found.loss == pytest.approx(height, abs=1e-8)


def test_where_second_derivatives_do_not_decide_that_is_said():
    found = classify(landscape(monkey, 2), point(0.0, 0.0))
    assert found.kind is Kind.DEGENERATE
    assert found.index == 0
    assert found.index_at_most == 2


def test_a_slope_is_no_critical_point():
    assert classify(landscape(two_wells, 2), point(0.5, 0.5)).kind is Kind.NOT_CRITICAL


def test_many_negative_directions_give_a_lower_bound_of_the_index():
    objective = landscape(lambda w: -(w * torch.arange(1, 61).to(w) * w).sum(), 60)
    found = classify(objective, torch.zeros(60).double(), most=8)
    assert found.kind is Kind.SADDLE
    assert found.index == 8
    assert found.index_at_most is None


def test_a_path_without_a_barrier_is_refused():
    objective = landscape(two_wells, 2)
    with pytest.raises(InputError, match="highest at its start"):
        climb(objective, _path(objective, (0.0, 0.0), (1.0, 0.0)))
