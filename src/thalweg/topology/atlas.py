"""An atlas: many minima, the paths found between them, and the levels at which they are joined."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import minimum_spanning_tree
from torch import Tensor

from thalweg import symmetry
from thalweg.certify import NotApplicable, obstruct
from thalweg.connect import Budget, Connection, connect_pairs
from thalweg.connect.driver import Method
from thalweg.errors import InputError
from thalweg.objective import Objective
from thalweg.topology.barriers import Levels, components, minimax
from thalweg.topology.disconnectivity import Node, disconnectivity_graph

# Endpoints must lie below a threshold by more than rounding for a proof.
_ROOM = 1 - 1e-6


@dataclass(frozen=True)
class Link:
    """An attempt to join two minima below a level.

    Attributes:
        a: number of one minimum.
        b: of the other.
        threshold: that was asked for.
        level: upper bound of the criterion along the path found; inf where none was.
        certificate: ``"proved"`` or ``"sampled"``.
        outcome: how the search ended.
        beads: of the path.
        normalized_length: of the path.
        gradient_samples: that the search took.
        criterion_samples: likewise, bounds included.
    """

    a: int
    b: int
    threshold: float
    level: float
    certificate: str
    outcome: str
    beads: int
    normalized_length: float | None
    gradient_samples: int
    criterion_samples: int

    @property
    def connected(self) -> bool:
        """Whether a path was found."""
        return math.isfinite(self.level)


@dataclass(frozen=True, eq=False)
class Atlas:
    """Minima of an objective and what is known of the levels between them.

    Attributes:
        thetas: `[m, p]`, the minima.
        energies: `[m]`, the criterion at each, in float64.
        straight: `[m, m]`, the highest value seen on the straight line between two, an estimate
            that only decides in which order pairs are tried.
        lower: `[m, m]`, proved lower bounds of the highest value on every path; the larger energy
            of the two where no argument applies.
        links: every attempt, in order.
        criterion: name and split of what the levels are of.
        aligned: whether one end of every path was moved by the symmetries of the network, so that
            levels and components are those up to symmetry.
    """

    thetas: Tensor
    energies: Levels
    straight: Levels
    lower: Levels
    links: tuple[Link, ...]
    criterion: dict[str, str] = field(default_factory=dict)
    aligned: bool = False

    @property
    def direct(self) -> Levels:
        """`[m, m]`: upper bound on the best path found between each two; inf where none is."""
        levels = np.full((len(self.energies),) * 2, np.inf)
        np.fill_diagonal(levels, self.energies)
        for link in self.links:
            # A bound may lie a rounding below what was evaluated at an end.
            level = max(link.level, self.energies[link.a], self.energies[link.b])
            levels[link.a, link.b] = min(levels[link.a, link.b], level)
            levels[link.b, link.a] = levels[link.a, link.b]
        return levels

    @property
    def upper(self) -> Levels:
        """`[m, m]`: upper bounds of the minimax level of each two, through any others."""
        return minimax(self.energies, self.direct)

    def graph(self, steps: Sequence[float] | None = None) -> tuple[Node, ...]:
        """The disconnectivity graph, see :func:`thalweg.topology.disconnectivity_graph`.

        Args:
            steps: levels at which branches may meet; None: at the bounds themselves.
        """
        return disconnectivity_graph(self.energies, self.direct, steps)

    def components(self, level: float) -> int:
        """How many components of the level set hold minima, as far as paths are known.

        Args:
            level: L0.
        """
        return int(components(self.energies, self.direct, level).max(initial=-1)) + 1

    def components_at_least(self, level: float) -> int:
        """How many components there are for sure, by obstructions.

        Two minima whose every path rises above the level lie in different components; what no
        argument tells apart is taken to be one.

        Args:
            level: L0.
        """
        inside = np.flatnonzero(self.energies <= level)
        if not len(inside):
            return 0
        apart = self.lower[np.ix_(inside, inside)] > level
        return int(components(np.zeros(len(inside)), np.where(apart, np.inf, 0.0), 0.0).max()) + 1


Store = Callable[[Link, Connection], None]
"""Called with every attempt and its connection, to keep them."""


def explore(
    objective: Objective,
    thetas: Sequence[Tensor] | Tensor,
    levels: Sequence[float],
    *,
    method: str | Method = "greedy",
    certificate: str = "proved",
    align: bool | str = False,
    attempts: int | None = None,
    obstructions: bool = True,
    seed: int = 0,
    budget: Budget | None = None,
    known: Sequence[Link] = (),
    store: Store | None = None,
    progress: Callable[[str], None] | None = None,
) -> Atlas:
    """Find at which of some levels many minima are joined, with as few searches as possible.

    From the lowest level up: among the minima at or below a level, those that a path found at it or
    below already joins are one component. Of the pairs that would join two components the
    cheapest are tried, all in one pool: those on a minimum spanning tree of the levels known or
    estimated (Draxler et al. 2018, Section 3.3, choose pairs that way). A pair that failed at a
    level is not tried there again, and the tree is made anew without it, until the components are
    one, nothing is left to try, or the attempts are used up.

    Args:
        objective: whose criterion.
        thetas: `[m, p]`, at least two minima.
        levels: to look at, positive, in any order.
        method: of :func:`thalweg.connect`.
        certificate: see :func:`thalweg.connect`.
        align: of :func:`thalweg.connect`: move one minimum of each pair by the symmetries of the
            network. Components are then those up to symmetry, and obstructions say nothing.
        attempts: searches a level may take; None: three for each minimum.
        obstructions: whether to look for proofs that two minima are not joined.
        seed: of minibatches and dropout.
        budget: of each round of searches.
        known: attempts of earlier runs on the same minima.
        store: called with every new attempt.
        progress: called with a sentence now and then.

    Returns:
        The atlas.

    Raises:
        InputError: if there are fewer than two minima, no levels, or a level is not positive.

    Example:
        >>> from torch import nn
        >>> x = torch.linspace(-1, 1, 8).reshape(-1, 1)
        >>> objective = Objective(nn.Linear(1, 1), nn.functional.mse_loss, train=(x, 2 * x))
        >>> minima = torch.tensor([[2.0, 0.0], [2.1, 0.0], [2.0, 0.1]])
        >>> atlas = explore(objective, minima, [0.05])
        >>> len(atlas.links), atlas.components(0.05)
        (2, 1)
    """
    points = torch.stack([objective.theta(theta) for theta in thetas]) if len(thetas) else None
    if points is None or len(points) < 2:
        raise InputError(f"expected at least two minima, got {len(thetas)}: train more")
    ladder = sorted(set(levels))
    if not ladder or not ladder[0] > 0 or not math.isfinite(ladder[-1]):
        raise InputError(f"expected finite levels > 0, got {list(levels)}")
    say = progress or (lambda sentence: None)
    twin = objective.double()
    energies = twin.criterion_of(points.to(torch.float64)).values[:, 0].numpy()
    atlas = Atlas(
        thetas=points,
        energies=energies,
        straight=straight_levels(objective, points, align),
        lower=lower_levels(objective, points, energies) if obstructions and not align
        else np.maximum.outer(energies, energies),
        links=tuple(known),
        criterion={"name": objective.criterion.name, "split": objective.criterion.split},
        aligned=bool(align),
    )  # fmt: skip
    for level in ladder:
        left = 3 * len(points) if attempts is None else attempts
        while left > 0 and (pairs := promising(atlas, level)[:left]):
            say(
                f"level {level:g}: {atlas.components(level)} components, "
                f"{len(pairs)} pairs to be tried"
            )
            left -= len(pairs)
            found = connect_pairs(
                objective, [(points[a], points[b]) for a, b in pairs], threshold=level,
                method=method, certificate=certificate, align=align, seed=seed, budget=budget,
            )  # fmt: skip
            for (a, b), connection in zip(pairs, found, strict=True):
                link = link_of(a, b, connection)
                atlas = replace(atlas, links=(*atlas.links, link))
                if store:
                    store(link, connection)
        say(f"level {level:g}: {atlas.components(level)} components")
    return atlas


def promising(atlas: Atlas, level: float) -> list[tuple[int, int]]:
    """The pairs to be tried next at a level: those that a spanning tree of estimates needs.

    Args:
        atlas: as far as it is known.
        level: L0.

    Returns:
        Pairs of minima of different components, the lowest estimate first.
    """
    inside = np.flatnonzero(atlas.energies <= level * _ROOM)
    labels = components(atlas.energies, atlas.direct, level)
    estimate = np.minimum(atlas.straight, atlas.direct)
    tried = {
        frozenset((link.a, link.b))
        for link in atlas.links
        if link.threshold == level and not link.connected
    }
    # scipy takes a zero for a missing edge: ranks from 2 up, and 1 within a component.
    weights = np.zeros((len(inside),) * 2)
    order = {value: k + 2 for k, value in enumerate(np.unique(estimate))}
    for i, a in enumerate(inside):
        for j, b in enumerate(inside[:i]):
            if labels[a] == labels[b]:
                weights[i, j] = 1
            elif frozenset((a, b)) not in tried and atlas.lower[a, b] <= level:
                weights[i, j] = order[estimate[a, b]]
    tree = minimum_spanning_tree(csr_matrix(weights)).tocoo()
    edges = sorted(
        (float(weight), int(inside[j]), int(inside[i]))
        for i, j, weight in zip(tree.row, tree.col, tree.data, strict=True)
        if weight > 1
    )
    return [(min(a, b), max(a, b)) for _, a, b in edges]


def straight_levels(
    objective: Objective, thetas: Tensor, align: bool | str = False, points: int = 9
) -> Levels:
    """The highest value seen on the straight line between each two models.

    Args:
        objective: whose criterion.
        thetas: `[m, p]`.
        align: whether, and by which method, one of the two is aligned to the other before.
        points: evaluated on each line, ends aside.

    Returns:
        `[m, m]`.
    """
    m = len(thetas)
    t = torch.linspace(0, 1, points + 2, dtype=thetas.dtype, device=thetas.device)[1:-1, None]
    levels = np.zeros((m, m))
    for i in range(m):
        for j in range(i):
            end = thetas[i]
            if align is not False:
                method = "weights" if align is True else align
                end = symmetry.align(objective, thetas[j], end, method).theta
            values = objective.criterion_of(thetas[j] + t * (end - thetas[j])).values
            levels[i, j] = levels[j, i] = float(values.max().nan_to_num(math.inf))
    return levels


def lower_levels(objective: Objective, thetas: Tensor, energies: Levels) -> Levels:
    """Proved lower bounds of the highest value on every path between each two models.

    Args:
        objective: whose criterion.
        thetas: `[m, p]`.
        energies: `[m]`, the criterion at each.

    Returns:
        `[m, m]`; the larger energy where no argument of :mod:`thalweg.certify` applies.
    """
    levels = np.maximum.outer(energies, energies)
    for i in range(len(thetas)):
        for j in range(i):
            found = obstruct(objective, thetas[i], thetas[j])
            if not isinstance(found, NotApplicable):
                levels[i, j] = levels[j, i] = max(levels[i, j], found.bound)
    return levels


def link_of(a: int, b: int, connection: Connection) -> Link:
    """What an atlas keeps of a connection.

    Args:
        a: number of the first endpoint.
        b: of the second.
        connection: of the two.
    """
    bound = connection.max_criterion_bound
    counts = connection.counts
    return Link(
        a=a, b=b, threshold=connection.threshold,
        level=bound if connection.connected and bound is not None else math.inf,
        certificate=connection.certificate, outcome=str(connection.outcome),
        beads=connection.beads, normalized_length=connection.normalized_length,
        gradient_samples=counts.gradient_samples,
        criterion_samples=counts.criterion_samples + counts.bound_samples,
    )  # fmt: skip
