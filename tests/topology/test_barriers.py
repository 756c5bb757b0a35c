"""Minimax levels, components and disconnectivity graphs against brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.errors import InputError
from thalweg.topology import components, disconnectivity_graph, minimax


@st.composite
def landscapes(draw):
    """Energies `[m]` and symmetric levels `[m, m]` with ties and missing paths."""
    m = draw(st.integers(1, 7))
    energies = np.array(draw(st.lists(st.integers(-3, 3), min_size=m, max_size=m)), dtype=float)
    levels = np.full((m, m), np.inf)
    for i, j in itertools.combinations(range(m), 2):
        height = draw(st.one_of(st.just(np.inf), st.integers(0, 6)))
        levels[i, j] = levels[j, i] = max(energies[i], energies[j]) + height
    np.fill_diagonal(levels, energies)
    return energies, levels


def brute_force(levels):
    """Floyd and Warshall with (min, max) in the place of (min, plus)."""
    best = levels.copy()
    for k in range(len(best)):
        best = np.minimum(best, np.maximum(best[:, k, None], best[None, k, :]))
    return best


def meeting(node, i, j):
    """Level of the lowest node that has both minima below it."""
    below = {leaf.minimum for leaf in node.leaves()}
    if not {i, j} <= below:
        return None
    levels = [meeting(branch, i, j) for branch in node.branches]
    return next((level for level in levels if level is not None), node.level)


@given(landscapes())
def test_minimax_levels_are_those_of_brute_force(case):
    energies, levels = case
    np.testing.assert_array_equal(minimax(energies, levels), brute_force(levels))


@given(landscapes(), st.integers(-3, 9))
def test_components_are_those_of_the_graph_of_low_paths(case, level):
    energies, levels = case
    labels = components(energies, levels, level)
    joined = brute_force(levels) <= level
    for i, j in itertools.product(range(len(energies)), repeat=2):
        if energies[i] > level:
            assert labels[i] == -1
        elif energies[j] <= level and i != j:
            assert (labels[i] == labels[j]) == joined[i, j]
    assert sorted(set(labels[labels >= 0])) == list(range(labels.max(initial=-1) + 1))


@given(landscapes())
def test_branches_meet_at_the_minimax_level(case):
    energies, levels = case
    roots = disconnectivity_graph(energies, levels)
    leaves = [leaf.minimum for root in roots for leaf in root.leaves()]
    assert len(leaves) == len(energies)
    assert set(leaves) == set(range(len(energies)))
    best = brute_force(levels)
    for i, j in itertools.combinations(range(len(energies)), 2):
        met = [meeting(root, i, j) for root in roots]
        met = [level for level in met if level is not None]
        assert met == ([best[i, j]] if np.isfinite(best[i, j]) else [])


@given(landscapes())
def test_a_node_lies_above_its_branches(case):
    def check(node):
        for branch in node.branches:
            # A minimum may lie at the very level at which it joins.
            assert branch.level < node.level or branch.minimum is not None
            check(branch)
        lowest = [branch.lowest for branch in node.branches]
        assert lowest == sorted(lowest)

    for root in disconnectivity_graph(*case):
        check(root)


def test_nodes_are_raised_to_the_next_step():
    levels = np.array([[0, 1.2, 9], [1.2, 0, 2.5], [9, 2.5, 0]])
    (root,) = disconnectivity_graph([0, 0.1, 0.2], levels, steps=[1, 2, 3])
    assert root.level == 3
    assert [branch.level for branch in root.branches] == [2, 0.2]
    roots = disconnectivity_graph([0, 0.1, 0.2], levels, steps=[1, 2])
    assert [root.level for root in roots] == [2, 0.2]


@pytest.mark.parametrize(
    ("energies", "levels", "words"),
    [
        ([], [], "at least one minimum"),
        ([0.0], [[0.0, 1.0]], "levels \\[m, m\\]"),
        ([np.nan], [[0.0]], "finite energies"),
        ([0.0, 0.0], [[0, 1], [2, 0]], "symmetric"),
        ([0.0, 3.0], [[0, 1], [1, 3]], "at or above both ends"),
    ],
)
def test_what_makes_no_sense_is_refused(energies, levels, words):
    with pytest.raises(InputError, match=words):
        minimax(energies, levels)
