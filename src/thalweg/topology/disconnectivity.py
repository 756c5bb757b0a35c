"""The disconnectivity graph of many minima (Becker & Karplus 1997).

A tree: its leaves are the minima, at their energies; two branches meet at the lowest level at which
their minima belong to one component of the level set. Where levels are upper bounds from paths that
were found, so are the heights of the nodes; branches that no known path joins stay apart, and the
graph is a forest.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from thalweg.topology.barriers import minimax


@dataclass(frozen=True)
class Node:
    """A leaf, or the place where branches meet.

    Attributes:
        level: the energy of a minimum, or the level at which the branches meet.
        minimum: number of the minimum, for a leaf.
        branches: that meet here, the one with the lowest minimum first; none for a leaf.
    """

    level: float
    minimum: int | None = None
    branches: tuple[Node, ...] = ()

    def leaves(self) -> Iterator[Node]:
        """The minima below, in the order of the branches."""
        if self.minimum is not None:
            yield self
        for branch in self.branches:
            yield from branch.leaves()

    @property
    def lowest(self) -> float:
        """The least energy of the minima below."""
        return min(leaf.level for leaf in self.leaves())


def disconnectivity_graph(
    energies: ArrayLike, levels: ArrayLike, steps: ArrayLike | None = None
) -> tuple[Node, ...]:
    """Make the graph from the levels of paths between minima.

    Args:
        energies: `[m]`, of the minima.
        levels: `[m, m]`, of direct paths; inf where none is known.
        steps: levels at which branches may meet, as in the original paper, each node being raised
            to the next; None: at the levels themselves.

    Returns:
        The roots, the one with the lowest minimum first: one tree where all minima are joined.

    Raises:
        InputError: see :func:`thalweg.topology.check_levels`.

    Example:
        >>> far = np.inf
        >>> levels = [[0, 1, far], [1, 0, far], [far, far, 0]]
        >>> roots = disconnectivity_graph([0, 0.5, 0.2], levels)
        >>> [(root.level, [leaf.minimum for leaf in root.leaves()]) for root in roots]
        [(1.0, [0, 1]), (0.2, [2])]
    """
    joined = minimax(energies, levels)
    heights = np.diagonal(joined)
    if steps is not None:
        grid = np.sort(np.append(np.asarray(steps, dtype=np.float64), math.inf))
        joined = np.where(np.isfinite(joined), grid[np.searchsorted(grid, joined)], joined)
    return tuple(_trees(list(range(len(heights))), heights, joined, math.inf))


def _trees(minima: list[int], heights: np.ndarray, joined: np.ndarray, below: float) -> list[Node]:
    """Trees of the minima that are joined strictly below a level, the lowest first."""
    left, trees = set(minima), []
    for first in sorted(minima, key=lambda i: (heights[i], i)):
        if first not in left:
            continue
        group = [i for i in minima if i == first or (i in left and joined[first, i] < below)]
        left -= set(group)
        trees.append(_tree(group, heights, joined))
    return trees


def _tree(group: list[int], heights: np.ndarray, joined: np.ndarray) -> Node:
    if len(group) == 1:
        return Node(level=float(heights[group[0]]), minimum=group[0])
    level = float(max(joined[i, j] for i in group for j in group if i != j))
    return Node(level=level, branches=tuple(_trees(group, heights, joined, level)))
