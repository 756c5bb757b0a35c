"""Appendix E.1: a network that no low path joins to itself with two hidden units swapped.

Freeman & Bruna 2017, Appendix E.1: a 2-3-2 relu network without biases maps three points of the
plane to each other in a cycle, and Dynamic String Sampling fails between θ and θ with two units
swapped. Why it must is :mod:`thalweg.certify.obstruction_determinant`: with `H = relu(W1 X)`, a
swap flips the sign of `det H`, and where `det H = 0` the loss is at least `B > 0`.

The control is a cyclic permutation of all three units, which keeps the sign.

- *The points surround the origin.* Then the rows of `H`, up to scale, run around the boundary of a
  triangle once while the unit's direction runs around the circle, and three units can walk round
  it one behind the other. With `W2 = Y H^-1` the loss is zero all along: the control is connected
  at every level.
- *The points lie in a half-plane.* Then some directions switch every point off, the others form an
  open arc, and the order of three units on it is kept as long as no two coincide and none leaves
  it, that is, as long as `det H` is not zero. A cycle changes the order: here it is disconnected
  below the same `B`, which the sign of the determinant alone does not show.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from thalweg.certify import NotApplicable, exact_maximum, obstruct
from thalweg.certify.shallow import Shallow
from thalweg.connect import Budget, connect
from thalweg.errors import InputError
from thalweg.objective import Objective
from thalweg.theory.linear import Matrix
from thalweg.theory.statement import Chart, Finding, Series, Statement
from thalweg.theory.strings import highest, lowest_string, profile_of, relu_objective

SWAP, CYCLE = (1, 0, 2), (1, 2, 0)
_DRAWS = 500
_MOST_CHORDS = 1024
_BUDGET = Budget(beads=60, steps=5000, patience=1000)


@dataclass(frozen=True, eq=False)
class CyclicTask:
    """Three points of the plane, each to be mapped to the next, and a network that does it.

    Attributes:
        points: `[3, 2]`.
        w1: `[3, 2]`, unit rows.
        objective: mean squared error of the 2-3-2 network, float64.
        theta: `[12]`: `w1`, and the `W2` that fits the three points exactly.
    """

    points: Matrix
    w1: Matrix
    objective: Objective
    theta: Tensor

    @classmethod
    def draw(cls, seed: int, *, surround: bool) -> CyclicTask:
        """Draw points, and the best conditioned of many draws of hidden units.

        Args:
            seed: of both.
            surround: whether the origin lies inside the triangle of the points.

        Returns:
            The task.

        Example:
            >>> task = CyclicTask.draw(0, surround=True)
            >>> round(float(task.objective.criterion_of(task.theta[None]).values), 12)
            0.0
        """
        rng = np.random.default_rng(seed)
        points = rng.normal(size=(3, 2))
        while _surrounds(points) != surround:
            points = rng.normal(size=(3, 2))
        angles = rng.uniform(0, 2 * np.pi, (_DRAWS, 3))
        conditions = [np.linalg.cond(_hidden(points, drawn)) for drawn in angles]
        w1 = _directions(angles[int(np.argmin(conditions))])
        target = points[[1, 2, 0]]
        return cls(points, w1, relu_objective(points, target, 3), _fit(points, w1))

    def permuted(self, order: tuple[int, ...]) -> Tensor:
        """θ with its hidden units in another order, `[12]`."""
        return Shallow.of(self.objective).permute_hidden(self.theta, order)

    def rotation(self, most_loss: float) -> list[Tensor] | None:
        """A path from θ to θ with its units in a cycle, along which each unit walks to the next.

        Args:
            most_loss: chords of the walk are halved until none has a larger loss, exactly.

        Returns:
            The vertices of a polygonal path `[12]` each, or None if the walk meets a singular `H`.
        """
        clock = _Clock.of(self.points)
        here = clock.time(np.arctan2(self.w1[:, 1], self.w1[:, 0]))
        for turn in (1, -1):  # on one way round the unit to be replaced is the next one
            there = here[list(CYCLE)]
            there = there + clock.round * turn * (turn * (there - here) < 0)
            grid = np.linspace(0, 1, 1025)[:, None]
            signs = np.sign([
                np.linalg.det(_hidden(self.points, clock.angle(row)))
                for row in here + grid * (there - here)
            ])  # fmt: skip
            if abs(signs.sum()) == len(signs):
                return self._walk(lambda t, e=there: clock.angle(here + t * (e - here)), most_loss)
        return None

    def _walk(self, angles: Callable[[float], Matrix], most_loss: float) -> list[Tensor] | None:
        vertices, left, stack = [self.theta], 0.0, [1.0]
        while stack and len(vertices) < _MOST_CHORDS:
            right = stack[-1]
            there = self.permuted(CYCLE)
            if right < 1.0:
                there = _fit(self.points, _directions(angles(right)))
            if exact_maximum(self.objective, vertices[-1], there).bound <= most_loss:
                vertices.append(there)
                left = stack.pop()
            else:
                stack.append((left + right) / 2)
        return None if stack else vertices


@dataclass(frozen=True, eq=False)
class _Clock:
    """Times at which a unit that walks round the circle of directions reaches an angle.

    Where it sees one point only, its row of `H` stands still, so that two units there are parallel:
    these arcs are crossed in a hundredth of the time of the others.

    Attributes:
        angles: `[7]`, ends of the arcs, over one turn.
        times: `[7]`, from zero.
    """

    angles: Matrix
    times: Matrix

    @property
    def round(self) -> float:
        """The time of one turn."""
        return float(self.times[-1])

    @classmethod
    def of(cls, points: Matrix) -> _Clock:
        across = np.concatenate([points, -points])
        ends = np.sort(np.arctan2(across[:, 0], -across[:, 1]))
        ends = np.append(ends, ends[0] + 2 * np.pi)
        middles = (ends[1:] + ends[:-1]) / 2
        seen = (_hidden(points, middles) > 0).sum(axis=1)
        return cls(ends, np.concatenate([[0.0], np.cumsum(np.where(seen > 1, 1.0, 0.01))]))

    def time(self, angles: Matrix) -> Matrix:
        return np.interp(self.angles[0] + (angles - self.angles[0]) % (2 * np.pi),
                         self.angles, self.times)  # fmt: skip

    def angle(self, times: Matrix) -> Matrix:
        return np.interp(times % self.round, self.times, self.angles)


def _surrounds(points: Matrix) -> bool:
    """Whether the origin lies inside the triangle of three points."""
    following = points[[1, 2, 0]]
    turns = np.sign(points[:, 0] * following[:, 1] - points[:, 1] * following[:, 0])
    return abs(int(turns.sum())) == 3


def _directions(angles: Matrix) -> Matrix:
    return np.stack([np.cos(angles), np.sin(angles)], axis=-1)


def _hidden(points: Matrix, angles: Matrix) -> Matrix:
    """relu(W1 X), `[3, 3]`: a row for each unit."""
    return np.maximum(_directions(angles) @ points.T, 0)


def _fit(points: Matrix, w1: Matrix) -> Tensor:
    """θ with this first layer and no loss."""
    w2 = points[[1, 2, 0]].T @ np.linalg.inv(np.maximum(w1 @ points.T, 0))
    return torch.from_numpy(np.concatenate([w1.ravel(), w2.ravel()]))


def check(
    seed: Annotated[int, "Of the points and of the network."] = 5,
    surround: Annotated[bool, "Whether the three points surround the origin."] = True,
    share: Annotated[float, "The threshold, as a share of the proved bound."] = 0.5,
) -> Finding:
    """Prove that the swap is disconnected, let the search fail at it, and connect the control.

    Args:
        seed: of the points and of the network.
        surround: whether the points surround the origin.
        share: threshold over proved bound, between 0 and 1.

    Returns:
        Whether there is a proved bound, no search came below it, and the control is connected, or
        for points in a half-plane disconnected too.

    Raises:
        InputError: if the share is not between 0 and 1.

    Example:
        >>> check(seed=1).holds
        True
    """
    if not 0 < share < 1:
        raise InputError(f"expected a share of the bound between 0 and 1, got {share}")
    task = CyclicTask.draw(seed, surround=surround)
    theta, swapped, cycled = task.theta, task.permuted(SWAP), task.permuted(CYCLE)
    swap = obstruct(task.objective, theta, swapped)
    if isinstance(swap, NotApplicable):
        raise InputError(f"expected points of which no two are parallel: {swap.reason}")
    level = share * swap.bound
    search = connect(task.objective, theta, swapped, threshold=level, seed=seed, budget=_BUDGET)
    found = list(search.path.points)
    string = lowest_string(task.objective, theta, swapped, seed=seed)
    walk = task.rotation(level) if surround else None
    control = obstruct(task.objective, theta, cycled)
    seen = {
        "straight": highest(task.objective, [theta, swapped]),
        "search": highest(task.objective, found),
        "string": highest(task.objective, string),
    }
    holds = (
        min(seen.values()) >= swap.bound
        and not search.outcome.connected
        and isinstance(control, NotApplicable)
        and (walk is not None) == surround
    )
    low = [
        profile_of(task.objective, string, "swap, lowest string found"),
        Series(label="proved bound", x=(0.0, 1.0), y=(swap.bound, swap.bound)),
    ]
    if walk is not None:
        low.append(profile_of(task.objective, walk, "cycle, units walk round"))
    return Finding(
        holds=holds,
        sentence=f"Two units swapped: every path reaches a loss of {swap.bound:.4g} (proved); the "
        f"search ended with '{search.outcome}', the lowest string found reaches "
        f"{seen['string']:.4g}. "
        + (
            f"Three units in a cycle: a path of {len(walk) - 1} segments stays at or below "
            f"{level:.4g} (exact)."
            if walk is not None
            else "Three units in a cycle: the points lie in a half-plane, so that the cycle "
            "changes the order of the units, and the same bound holds."
            if not surround
            else "Three units in a cycle: the walk round met a singular H."
        ),
        values={
            "points": task.points.ravel().tolist(),
            "surround": surround,
            "threshold": level,
            "swap_bound": swap.bound,
            "swap_straight_maximum": seen["straight"],
            "swap_search_outcome": str(search.outcome),
            "swap_search_maximum": seen["search"],
            "swap_lowest_string_maximum": seen["string"],
            "cycle_sign_argument": "none" if isinstance(control, NotApplicable) else control.reason,
            "cycle_straight_maximum": highest(task.objective, [theta, cycled]),
            "cycle_path_segments": None if walk is None else len(walk) - 1,
            "cycle_path_maximum": None if walk is None else highest(task.objective, walk),
            "cycle_bound": None if surround else swap.bound,
        },
        charts=(
            _chart("Straight lines", [
                profile_of(task.objective, [theta, swapped], "two units swapped"),
                profile_of(task.objective, [theta, cycled], "three units in a cycle"),
            ]),
            _chart("As low as paths get", low),
        ),
    )  # fmt: skip


def _chart(title: str, series: list[Series]) -> Chart:
    return Chart(
        title=title,
        x_label="fraction of the path's length",
        y_label="mean squared error",
        series=tuple(series),
    )


PERMUTATION = Statement(
    name="permutation",
    source="Freeman & Bruna 2017, Appendix E.1",
    claim="Between the 2-3-2 network and itself with two hidden units swapped every path climbs to "
    "a proved bound; with three units in a cycle a path does not, if the points surround the "
    "origin.",
    check=check,
)
