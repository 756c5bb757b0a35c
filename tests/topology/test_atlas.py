"""Atlases of landscapes whose minima and barriers are known, and of networks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Generator

import thalweg
from tests.helpers import landscape, point
from thalweg.connect import Budget, Greedy
from thalweg.errors import InputError
from thalweg.tasks import get_task
from thalweg.topology import explore

QUICK = Budget(depth=6, patience=100)


def muller_brown(w):
    """Raised by 150, so that all of it is positive. Müller & Brown 1979."""
    rows = zip(
        (-200, -100, -170, 15), (-1, -1, -6.5, 0.7), (0, 0, 11, 0.6), (-10, -10, -6.5, 0.7),
        (1, 0, -0.5, -1), (0, 0.5, 1.5, 1), strict=True,
    )  # fmt: skip
    total = torch.full_like(w[0], 150.0)
    for A, a, b, c, u, v in rows:
        x, y = w[0] - u, w[1] - v
        total = total + A * torch.exp(a * x**2 + b * x * y + c * y**2)
    return total


# Minima at -146.70, -108.17 and -80.77; between the last two a saddle of -72.25, and of -40.66
# between them and the first.
MINIMA = [point(-0.558, 1.442), point(0.623, 0.028), point(-0.050, 0.467)]


def test_the_muller_brown_surface():
    objective = landscape(muller_brown, 2, learning_rate=0.002)
    atlas = explore(
        objective,
        MINIMA,
        [77.0, 79.0, 108.0, 113.0],
        method=Greedy(alpha=0.99),
        certificate="sampled",
        budget=QUICK,
    )
    np.testing.assert_allclose(atlas.energies, [3.30, 41.83, 69.23], atol=0.01)
    counted = [atlas.components(level) for level in (20, 50, 77, 79, 108, 113)]
    assert counted == [1, 2, 3, 2, 2, 1]
    (root,) = atlas.graph()
    assert 109.34 <= root.level <= 113
    inner = next(branch for branch in root.branches if branch.branches)
    assert 77.75 <= inner.level <= 79
    assert [leaf.minimum for leaf in inner.leaves()] == [1, 2]
    # The pair that needs no search of its own is joined through the third.
    tried = {frozenset((link.a, link.b)) for link in atlas.links if link.connected}
    assert len(tried) == 2


def double_wells(w):
    """Four minima 0 at (±1, ±1): barriers of 1 along x and of 2 along y."""
    return (w[0] ** 2 - 1) ** 2 + 2 * (w[1] ** 2 - 1) ** 2


def test_four_wells_are_joined_two_by_two_and_then_all():
    minima = [point(x, y) for x in (-1, 1) for y in (-1, 1)]
    atlas = explore(
        landscape(double_wells, 2, learning_rate=0.01), minima, [0.9, 1.1, 1.9, 2.1],
        certificate="sampled", budget=QUICK, attempts=3,
    )  # fmt: skip
    assert [atlas.components(level) for level in (0.5, 0.9, 1.1, 1.9, 2.1)] == [4, 4, 2, 2, 1]
    (root,) = atlas.graph(steps=[1, 2, 3])
    assert root.level == 3
    halves = [{leaf.minimum for leaf in branch.leaves()} for branch in root.branches]
    assert halves in ([{0, 2}, {1, 3}], [{1, 3}, {0, 2}])


def test_links_of_an_earlier_run_are_not_searched_again():
    minima = [point(x, y) for x in (-1, 1) for y in (-1, 1)]
    objective = landscape(double_wells, 2)
    first = explore(objective, minima, [2.1], certificate="sampled")
    kept = []
    again = explore(
        objective, minima, [2.1], certificate="sampled", known=first.links,
        store=lambda link, connection: kept.append(link),
    )  # fmt: skip
    assert kept == []
    np.testing.assert_array_equal(again.upper, first.upper)
    assert len(first.links) == 3


def test_attempts_are_limited():
    minima = [point(x, y) for x in (-1, 1) for y in (-1, 1)]
    atlas = explore(
        landscape(double_wells, 2), minima, [0.5], certificate="sampled", attempts=2,
        budget=Budget(beads=0),
    )  # fmt: skip
    assert len(atlas.links) == 2
    assert atlas.components(0.5) == 4


def test_obstructions_bound_the_number_of_components_from_below():
    """Swapping two hidden units in Appendix E.1's network is a proof of disconnection."""
    task = get_task("permutation")
    objective = task.build(None)
    starts = [objective.theta(task.initialize(Generator().manual_seed(s))) for s in range(2)]
    (model, _) = thalweg.train(objective, starts, 1e-3)
    w1, w2 = model.theta[:6].reshape(3, 2), model.theta[6:].reshape(2, 3)

    def arranged(order):
        return torch.cat([w1[order].flatten(), w2[:, order].flatten()])

    minima = [model.theta, arranged([1, 0, 2]), arranged([1, 2, 0])]
    atlas = explore(objective, minima, [0.05], attempts=0)
    assert atlas.components_at_least(0.05) == 2  # the 3-cycle keeps the sign of the determinant
    assert atlas.components_at_least(0.1) == 1
    assert (atlas.lower <= atlas.upper).all()


def test_networks_of_a_task_are_proved_to_lie_in_one_component():
    task = get_task("quadratic-small")
    objective = task.build(None)
    starts = [objective.theta(task.initialize(Generator().manual_seed(s))) for s in range(4)]
    minima = [trained.theta for trained in thalweg.train(objective, starts, 0.045)]
    atlas = explore(objective, minima, [0.05, 0.1])
    assert atlas.components(0.05) == 1
    assert len(atlas.links) == 3
    assert {link.certificate for link in atlas.links} == {"proved"}
    assert atlas.upper.max() <= 0.05


@pytest.mark.parametrize(
    ("minima", "levels", "words"),
    [
        ([point(1.0, 1.0)], [1.0], "at least two minima"),
        ([point(1.0, 1.0)] * 2, [], "finite levels > 0"),
        ([point(1.0, 1.0)] * 2, [-1.0], "finite levels > 0"),
    ],
)
def test_what_makes_no_sense_is_refused(minima, levels, words):
    with pytest.raises(InputError, match=words):
        explore(landscape(double_wells, 2), minima, levels)
