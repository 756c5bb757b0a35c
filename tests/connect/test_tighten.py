"""Shorter strings: never above the threshold, and how short they can be."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from tests.helpers import highest_on, landscape, point, random_stack, ring, toy_classifier
from thalweg import (
    Budget,
    InputError,
    Outcome,
    Polygonal,
    connect,
    load_connection,
    tighten,
    train,
    verify,
)
from thalweg.connect import Greedy


def shortest_around_the_ring(threshold: float) -> float:
    """Normalized length of the geodesic between opposite points, close to the unit circle.

    The level set is the annulus of radii sqrt(1 ∓ sqrt(L0)); the shortest way from (1, 0) to
    (-1, 0) is a taut string around the inner circle of radius r: two tangents and an arc.
    """
    r = math.sqrt(1 - math.sqrt(threshold))
    tangent, angle = math.sqrt(1 - r * r), math.acos(r)
    return (2 * tangent + r * (math.pi - 2 * angle)) / 2


@pytest.mark.parametrize("method", ["greedy", "bezier"])
def test_a_string_around_the_ring_comes_close_to_the_geodesic(method):
    objective = landscape(ring, 2, learning_rate=0.02)
    a, b = point(1.0, 0.0), point(-math.cos(0.01), -math.sin(0.01))
    found = connect(objective, a, b, threshold=0.3, method=method)
    shorter = tighten(objective, found)
    least = shortest_around_the_ring(0.3)
    assert shorter.outcome is Outcome.CONNECTED
    assert least * 0.995 <= (shorter.normalized_length or 0) <= 1.05 * least
    assert shorter.length < found.length
    assert highest_on(objective, shorter.path) <= 0.3
    assert (shorter.max_criterion_bound or 1) <= 0.3
    assert torch.equal(shorter.path.points[[0, -1]], torch.stack([a, b]))
    assert shorter.settings["tightened_from"] == found.normalized_length
    assert shorter.method == found.method
    assert shorter.counts.gradient_samples >= found.counts.gradient_samples


def test_beads_that_are_not_needed_are_left_out():
    """A detour within a flat landscape: one chord does for all of it."""
    objective = landscape(lambda w: 0 * w.sum() + 0.1, 2)
    found = connect(objective, point(0.0, 0.0), point(1.0, 0.0), threshold=0.5)
    detour = torch.stack([point(0.0, 0.0), *(point(x, x * (1 - x)) for x in (0.2, 0.5, 0.9)),
                          point(1.0, 0.0)])  # fmt: skip
    path = Polygonal(detour, found.path.layout)
    shorter = tighten(objective, replace(found, path=path))
    assert shorter.beads == 0
    assert shorter.normalized_length == 1.0
    assert shorter.counts.gradient_samples == 0


@pytest.mark.parametrize("seed", range(2))
def test_a_string_of_networks_is_shorter_and_verified(seed, tmp_path):
    objective = toy_classifier(seed)
    models = train(objective, list(3 * random_stack(objective, 2, seed)), 0.18)
    found = connect(objective, models[0].theta, models[1].theta, threshold=0.2, tighten=True)
    assert found.settings["tightened_from"] > (found.normalized_length or 0) >= 1
    found.save(tmp_path / "c")
    loaded = load_connection(tmp_path / "c")
    assert verify(loaded, objective).passed
    assert loaded.settings["tightened_from"] == found.settings["tightened_from"]


def test_what_is_not_connected_or_straight_is_left_alone():
    objective = landscape(ring, 2)
    straight = connect(objective, point(1.0, 0.0), point(0.0, 1.0), threshold=0.5)
    assert torch.equal(tighten(objective, straight).path.points, straight.path.points)
    failed = connect(objective, point(1.0, 0.0), point(-1.0, 0.0), threshold=0.1, method="linear")
    again = tighten(objective, failed)
    assert (again.outcome, again.message) == (failed.outcome, failed.message)


def test_time_that_is_up_leaves_the_path_connected():
    objective = landscape(ring, 2, learning_rate=0.02)
    found = connect(objective, point(1.0, 0.0), point(-1.0, -0.1), threshold=0.3)
    shorter = tighten(objective, found, budget=Budget(seconds=0))
    assert shorter.connected
    assert torch.equal(shorter.path.points, found.path.points)


def test_a_path_of_another_architecture_is_refused():
    found = connect(landscape(ring, 2), point(1.0, 0.0), point(0.0, 1.0), threshold=0.5)
    with pytest.raises(InputError, match="3 parameters"):
        tighten(landscape(ring, 3), found)


def test_tightening_never_worsens_a_string_that_greedy_found():
    objective = landscape(ring, 2, learning_rate=0.02)
    found = connect(
        objective, point(1.0, 0.0), point(-1.0, -0.1), threshold=0.6, method=Greedy(alpha=0.5)
    )
    assert tighten(objective, found).length <= found.length
