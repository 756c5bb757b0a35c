import itertools

import numpy as np
import pytest
import torch

from thalweg.certify import Obstructed, exact_maximum, obstruct
from thalweg.certify.shallow import Shallow
from thalweg.errors import InputError
from thalweg.theory import get_statement
from thalweg.theory.appendix_e1 import CYCLE, SWAP, CyclicTask
from thalweg.theory.strings import highest, lowest_string


def determinants(task, vertices, parts=5):
    """det relu(W1 X) at points of a string."""
    string = torch.stack(vertices)
    t = torch.linspace(0, 1, parts, dtype=torch.float64)[:, None, None]
    w1 = ((1 - t) * string[:-1] + t * string[1:])[..., :6].reshape(-1, 3, 2)
    hidden = torch.relu(w1 @ torch.from_numpy(task.points).T)
    return torch.linalg.det(hidden)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("surround", [True, False])
def test_the_task_is_solved_and_its_points_lie_as_asked(seed, surround):
    task = CyclicTask.draw(seed, surround=surround)
    assert float(task.objective.criterion_of(task.theta[None]).values) < 1e-20
    # The origin is a convex combination of the points, or it is not: the null vector's signs.
    null = np.linalg.svd(task.points.T)[2][-1]
    assert (abs(np.sign(null).sum()) == 3) == surround


@pytest.mark.parametrize("seed", range(8))
def test_three_units_walk_round_without_loss(seed):
    task = CyclicTask.draw(seed, surround=True)
    found = obstruct(task.objective, task.theta, task.permuted(SWAP))
    assert isinstance(found, Obstructed)
    walk = task.rotation(found.bound / 4)
    assert walk is not None
    assert torch.equal(walk[0], task.theta)
    assert torch.equal(walk[-1], task.permuted(CYCLE))
    assert highest(task.objective, walk) <= found.bound / 4
    # Vertices fit exactly; chords nearly: halving the level takes more of them.
    assert float(task.objective.criterion_of(torch.stack(walk)).values.max()) < 1e-12
    signs = torch.sign(determinants(task, walk))
    assert (signs == signs[0]).all()


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("surround", [True, False])
def test_the_lowest_string_of_a_swap_stays_above_the_bound(seed, surround):
    task = CyclicTask.draw(seed, surround=surround)
    swapped = task.permuted(SWAP)
    found = obstruct(task.objective, task.theta, swapped)
    assert isinstance(found, Obstructed)
    string = lowest_string(task.objective, task.theta, swapped, seed=seed, steps=150)
    pairs = itertools.pairwise(string)
    assert max(exact_maximum(task.objective, a, b).maximum for a, b in pairs) >= found.bound
    signs = torch.sign(determinants(task, string, 200))
    assert signs.min() < 0 < signs.max()


@pytest.mark.parametrize("seed", range(3))
def test_in_a_half_plane_even_the_cycle_is_disconnected(seed):
    # Some direction switches every point off, so that the units stand in an order on an arc, and
    # a string to the cycle has a singular H somewhere, which costs at least the bound.
    task = CyclicTask.draw(seed, surround=False)
    angles = np.linspace(0, 2 * np.pi, 721)
    active = np.stack([np.cos(angles), np.sin(angles)], axis=1) @ task.points.T > 0
    assert not active.any(axis=1).all()
    found = obstruct(task.objective, task.theta, task.permuted(SWAP))
    assert isinstance(found, Obstructed)
    string = lowest_string(task.objective, task.theta, task.permuted(CYCLE), seed=seed, steps=150)
    assert highest(task.objective, string) >= found.bound


def test_the_check_shows_bound_failure_and_control():
    finding = get_statement("permutation").check(seed=1)
    values = finding.values
    assert finding.holds
    assert values["swap_search_outcome"] != "connected"
    assert values["cycle_path_maximum"] <= values["threshold"] < values["swap_bound"]
    assert values["swap_bound"] <= values["swap_lowest_string_maximum"]
    assert values["swap_lowest_string_maximum"] < values["swap_straight_maximum"]
    assert [s.label for s in finding.charts[1].series] == [
        "swap, lowest string found",
        "proved bound",
        "cycle, units walk round",
    ]
    # The chart's curve is the criterion itself.
    task = CyclicTask.draw(1, surround=True)
    middle = (task.theta + Shallow.of(task.objective).permute_hidden(task.theta, SWAP)) / 2
    straight = finding.charts[0].series[0]
    at_half = straight.y[straight.x.index(0.5)]
    assert at_half == pytest.approx(float(task.objective.criterion_of(middle[None]).values))


def test_the_control_in_a_half_plane_is_reported_as_disconnected():
    values = get_statement("permutation").check(seed=1, surround=False).values
    assert values["cycle_path_segments"] is None
    assert values["cycle_bound"] == values["swap_bound"]


@pytest.mark.parametrize("share", [0.0, 1.0, float("nan")])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(InputError, match="share of the bound between 0 and 1"):
        get_statement("permutation").check(share=share)
