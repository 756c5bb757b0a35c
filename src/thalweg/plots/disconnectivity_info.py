"""What the picture of a disconnectivity graph shows, in numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from thalweg.errors import InputError
from thalweg.topology import Atlas, Node


@dataclass(frozen=True)
class Branch:
    """A line of the graph.

    Attributes:
        x: abscissae of its lower and upper end; they say only which branches belong together.
        y: levels of its lower and upper end.
        minimum: number of the minimum at its lower end; None where branches meet there.
    """

    x: tuple[float, float]
    y: tuple[float, float]
    minimum: int | None


@dataclass(frozen=True)
class Count:
    """How many components a level set has.

    Attributes:
        level: L0.
        minima: at or below it.
        at_most: components, as far as paths are known.
        at_least: components that obstructions tell apart.
    """

    level: float
    minima: int
    at_most: int
    at_least: int


@dataclass(frozen=True)
class DisconnectivityInfo:
    """All numbers that the picture shows.

    Attributes:
        branches: of the graph.
        top: where the roots end: above every level.
        counts: of components, level by level.
        criterion: as in ``"loss on train"``.
        aligned: whether levels are those up to symmetry.
    """

    branches: tuple[Branch, ...]
    top: float
    counts: tuple[Count, ...]
    criterion: str
    aligned: bool


def compute_disconnectivity(atlas: Atlas, levels: Sequence[float]) -> DisconnectivityInfo:
    """Lay out the disconnectivity graph of an atlas.

    Args:
        atlas: with its paths.
        levels: at which branches may meet and components are counted; branches that meet above
            the highest meet there at the level itself.

    Returns:
        The numbers.

    Raises:
        InputError: if there are no levels.
    """
    steps = sorted(set(levels))
    if not steps:
        raise InputError("expected at least one level for a disconnectivity graph, got none")
    roots = atlas.graph(steps)
    heights = [*steps, *map(float, atlas.energies)]
    top = max(heights) + 0.08 * (max(heights) - min(heights) or 1.0)
    branches: list[Branch] = []
    right = 0.0
    for root in roots:
        x, right = _lay_out(root, right, branches)
        branches.append(Branch((x, x), (root.level, top), root.minimum))
    return DisconnectivityInfo(
        branches=tuple(branches),
        top=top,
        counts=tuple(
            Count(
                level,
                int((atlas.energies <= level).sum()),
                atlas.components(level),
                atlas.components_at_least(level),
            )
            for level in steps
        ),
        criterion=" on ".join(atlas.criterion[key] for key in ("name", "split")),
        aligned=atlas.aligned,
    )


def _lay_out(node: Node, left: float, branches: list[Branch]) -> tuple[float, float]:
    """Place a node above the middle of its branches; where it is, and where the next may begin."""
    if node.minimum is not None:
        return left, left + 1
    places, right = [], left
    for branch in node.branches:
        x, right = _lay_out(branch, right, branches)
        places.append((x, branch))
    middle = math.fsum((places[0][0], places[-1][0])) / 2
    branches.extend(
        Branch((x, middle), (branch.level, node.level), branch.minimum) for x, branch in places
    )
    return middle, right
