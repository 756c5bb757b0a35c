"""Where to cut a segment first, as a few of its examples say.

How many examples a bound leaves open rises steeply with the width of its piece: from few to nearly
all while the width doubles. So what a segment costs depends on first pieces of the right width, and
that changes little from one piece to the next. A forecast decides where to cut, never what is true.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np

Shares = Callable[[float, float], float]
"""Share of the examples that a bound of a piece, from left to right, would leave open."""

COARSEST = 2.0**-8
"""Width below which no forecast is trusted to choose a smaller one."""

FAILING = 0.5
"""Share of open examples above which two halves cost less than a piece and what it leaves open."""

_STEP = 2**0.25
"""By which widths are changed from one piece to the next."""

_FEW, _MANY = 0.03, 0.12
"""Shares of open examples between which a width is about the best, and others need no forecast."""

_EQUAL = 8
"""Pieces up to which all are of one width, which the middle of the segment decides."""

_LEFT_OVER = 0.25
"""Share of a piece that is left to the others at the end."""


def first_pieces(share_open: Shares) -> list[tuple[float, float]]:
    """Pieces of [0, 1], each about as wide as costs least for its part of the segment.

    Args:
        share_open: asked about ten times, and once or twice a piece.

    Example:
        >>> pieces = first_pieces(lambda left, right: 0.0 if right - left <= 0.4 else 1.0)
        >>> [round(right, 3) for left, right in pieces]
        [0.333, 0.667, 1.0]
    """
    share_open = functools.cache(share_open)
    count = _fewest_equal(lambda width: share_open((1 - width) / 2, (1 + width) / 2))
    if count is not None:
        return [(i / count, (i + 1) / count) for i in range(count)]
    marks, width = [0.0], starting_width(lambda some: share_open(0.0, some), 1 / _EQUAL)
    while (left := marks[-1]) < 1:
        width = _cheapest(
            width, 1 - left, lambda some, left=left: share_open(left, min(left + some, 1.0))
        )
        marks.append(left + width)
    # The last one may reach beyond the end: all become a little narrower, or wider without it.
    needed = len(marks) - 2 + (1 - marks[-2]) / width
    count = max(1, math.ceil(needed - _LEFT_OVER))
    cuts = np.interp(np.linspace(0, needed, count + 1), range(len(marks)), marks).tolist()
    return list(pairwise([0.0, *cuts[1:-1], 1.0]))


def _fewest_equal(share: Callable[[float], float]) -> int | None:
    """How many equal pieces cost least, if a few will do."""
    if share(1 / _EQUAL) > FAILING:
        return None
    # Bounds of pieces that are too wide cost most: of these, one is asked about.
    enough = _EQUAL
    while enough > 1 and share(1 / (enough // 2)) <= FAILING:
        enough //= 2
    costs: dict[int, float] = {}
    for count in range(enough, enough // 2, -1):
        costs[count] = count * _cost(share(1 / count))
        if costs[count] == math.inf:
            break
    for count in range(enough + 1, _EQUAL + 1):
        if count >= min(costs.values()):
            break
        costs[count] = count * _cost(share(1 / count))
    return min(costs, key=lambda count: costs[count])


def _cost(left_open: float) -> float:
    """What a piece costs, in bounds on all examples, by the share that it leaves open.

    They are looked at closely, then gone through again in both halves; where they are many, so are
    those that the halves leave open.
    """
    return 1 + 4 * left_open if left_open <= FAILING else math.inf


def _cheapest(width: float, rest: float, share: Callable[[float], float]) -> float:
    """The width, near one that did, of which a unit of length costs least."""
    while share(width) > FAILING and width > COARSEST:
        width /= _STEP
    if _FEW <= share(width) <= _MANY:
        return width
    least, step = _cost(share(width)) / width, _STEP if share(width) < _FEW else 1 / _STEP
    while COARSEST <= width * step < rest * _STEP:
        cost = _cost(share(width * step)) / (width * step)
        if cost >= least:
            break
        width, least = width * step, cost
    return width


def starting_width(share: Callable[[float], float], guess: float) -> float:
    """The widest of 1, 1/2, 1/4, ... of which a share of the examples at most is left open.

    Args:
        share: of a width.
        guess: one of these, asked about first.
    """
    width = guess
    if share(width) <= FAILING:
        while width < 1 and share(2 * width) <= FAILING:
            width *= 2
        return width
    while width > COARSEST and share(width / 2) > FAILING:
        width /= 2
    return width / 2
