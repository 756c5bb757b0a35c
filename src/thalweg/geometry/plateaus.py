"""Plateaus: stretches of a training on which the loss hardly falls, before it falls on.

A network lingers near saddles where units do alike (Saad & Solla 1995; Fukumizu & Amari 2000): the
curve of its loss is a staircase. What is flat at the end of a training is no plateau but its floor.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from thalweg.errors import InputError


@dataclass(frozen=True)
class Plateau:
    """One stretch.

    Attributes:
        start: its first step.
        end: its last step.
        loss: the least so far at its end.
        fall: by which factor the loss falls after it, until the training ends: the loss here over
            the least of all.
    """

    start: int
    end: int
    loss: float
    fall: float

    @property
    def steps(self) -> int:
        """How long it lasts."""
        return self.end - self.start


def plateaus(
    losses: Sequence[float],
    steps: Sequence[int] | None = None,
    *,
    flat: float = 0.05,
    least: float = 0.1,
) -> tuple[Plateau, ...]:
    """Find the plateaus of a training.

    The least loss so far stands for the loss, so that noise does not matter. A plateau is a stretch
    of at least a share `least` of all steps on which it falls by no more than a share `flat`,
    while after it, it falls by more than that again. Of stretches that overlap the longest counts.

    Args:
        losses: positive, in order.
        steps: at which they were taken, in rising order; default: 0, 1, …
        flat: share of the loss that may be lost on a plateau.
        least: share of all steps that a plateau lasts at least.

    Returns:
        The plateaus, in order.

    Raises:
        InputError: if there are fewer than two losses, or one is not positive and finite, or the
            steps do not fit, or a share is not between 0 and 1.

    Example:
        >>> plateaus([8.0, 4.0, 4.0, 4.0, 4.0, 2.0, 1.0])
        (Plateau(start=1, end=4, loss=4.0, fall=4.0),)
    """
    at = list(range(len(losses))) if steps is None else list(steps)
    _check(losses, at, flat, least)
    lows, low = [], math.inf
    for loss in losses:
        low = min(low, loss)
        lows.append(low)
    found: list[Plateau] = []
    for start, end in _longest_first(lows, at, flat):
        if at[end] - at[start] < least * (at[-1] - at[0]):
            break
        apart = all(at[end] <= other.start or at[start] >= other.end for other in found)
        if apart and lows[-1] < lows[end] * (1 - flat):
            found.append(Plateau(at[start], at[end], lows[end], lows[end] / lows[-1]))
    return tuple(sorted(found, key=lambda plateau: plateau.start))


def _longest_first(lows: list[float], at: list[int], flat: float) -> list[tuple[int, int]]:
    """From every start the longest stretch on which a falling sequence falls by at most a share."""
    stretches, end = [], 0
    for start in range(len(lows)):
        while end + 1 < len(lows) and lows[end + 1] >= lows[start] * (1 - flat):
            end += 1
        stretches.append((start, end))
    return sorted(stretches, key=lambda pair: at[pair[0]] - at[pair[1]])


def _check(losses: Sequence[float], at: list[int], flat: float, least: float) -> None:
    if len(losses) < 2 or len(losses) != len(at):
        raise InputError(
            f"expected two or more losses and a step for each, got {len(losses)} and {len(at)}"
        )
    if not all(loss > 0 and math.isfinite(loss) for loss in losses):
        raise InputError(
            "expected losses that are positive and finite, got others: cut the record where the "
            "training diverged"
        )
    if any(later <= earlier for earlier, later in pairwise(at)):
        raise InputError("expected steps in rising order, got others")
    if not (0 < flat < 1 and 0 < least < 1):
        raise InputError(f"expected shares between 0 and 1, got flat {flat} and least {least}")
