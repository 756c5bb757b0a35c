"""From models of chunks to a bound of the criterion: sums of losses, counts of errors."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from thalweg.certify.rounding import UNIT, gamma
from thalweg.certify.rules_algebra import multiply
from thalweg.certify.rules_loss import margins, rows
from thalweg.certify.taylor import TaylorModel, as_model, reach


class LossSums:
    """Line and remainder of the sum of a loss over examples."""

    def __init__(self) -> None:
        self._parts: list[tuple[float, float, float]] = []

    def add(self, loss: TaylorModel, examples: int) -> None:
        """Collect a chunk: its mean, or one value an example."""
        if loss.value.ndim:
            loss = as_model(loss.mean())
        slope = 0.0 if loss.slope is None else float(loss.slope)
        remainder = 0.0 if loss.remainder is None else float(loss.remainder)
        self._parts.append((
            float(loss.value) * examples, slope * examples, remainder * examples
        ))  # fmt: skip

    def result(self, examples: int) -> tuple[float, float, float]:
        """Upper bound over the interval; lower and upper bound at the centre."""
        if not all(math.isfinite(x) for part in self._parts for x in part):
            return math.inf, -math.inf, math.inf
        value, slope, remainder = (math.fsum(column) for column in zip(*self._parts, strict=True))
        size = math.fsum(abs(v) + abs(d) + r for v, d, r in self._parts)
        error = remainder + size * gamma(8)
        upper = (value + abs(slope) + error) / examples
        middle, seen = (value + error) / examples, (value - error) / examples
        return _up(upper), -_up(-seen), _up(middle)


def _up(value: float) -> float:
    return value + abs(value) * 8 * UNIT


class ErrorCounts:
    """Examples that may be wrong somewhere, and where.

    An example may be wrong at s where some score is not surely below the target's. Each rival
    gives a half-line of s, so that the set is {s <= a} and {s >= b} together. The largest number of
    examples whose sets share a point, not the number that have any, bounds the error rate.
    """

    def __init__(self) -> None:
        self._ends: list[tuple[Tensor, Tensor]] = []
        self._surely_wrong = 0
        self._targets = 0

    def add(self, output: TaylorModel, target: Tensor) -> None:
        """Collect a chunk."""
        lead, rival = _leads(output, target)
        value = lead.value
        slope = torch.zeros_like(value) if lead.slope is None else lead.slope
        noise = torch.zeros_like(value) if lead.remainder is None else lead.remainder
        maybe = rival & ~(value + reach(lead) * (1 + 8 * UNIT) < 0)
        wrong = rival & (value > noise * (1 + 8 * UNIT))
        self._surely_wrong += int(wrong.any(1).sum())
        self._targets += len(value)
        unsure = maybe.any(1)
        value, slope, noise, maybe = (part[unsure] for part in (value, slope, noise, maybe))
        # value + slope s + noise >= 0 from the crossing on, to the right or to the left.
        cross = -(value + noise) / slope
        slack = ((value.abs() + noise) / slope.abs() + 1) * (16 * UNIT)
        right = torch.where(maybe, torch.where(slope > 0, cross - slack, math.inf), math.inf)
        left = torch.where(maybe, torch.where(slope < 0, cross + slack, -math.inf), -math.inf)
        always = maybe & ~((slope != 0) & cross.isfinite() & slack.isfinite())
        self._ends.append((
            left.amax(1),
            torch.where(always, -math.inf, right).amin(1),
        ))  # fmt: skip

    def result(self) -> tuple[float, float, float]:
        """Upper bound over the interval; lower and upper bound at the centre."""
        left, right = (torch.cat(column) for column in zip(*self._ends, strict=True))
        # An example is wrong at s on the left, on the right, or on both sides: then everywhere.
        both = left >= right
        starts, ends = right[~both].sort().values, left[~both].sort().values
        points = torch.cat([starts, ends, torch.tensor([0.0, -1.0, 1.0], dtype=torch.float64)])
        points = points.clamp(-1, 1)
        on_right = torch.searchsorted(starts, points, right=True)
        on_left = len(ends) - torch.searchsorted(ends, points)
        counts = on_right + on_left + int(both.sum())
        most, middle = int(counts.max()), int(counts[-3])
        return most / self._targets, self._surely_wrong / self._targets, middle / self._targets


def _leads(output: TaylorModel, target: Tensor) -> tuple[TaylorModel, Tensor]:
    """Scores of the rivals above the target's `[m, c]`, and which of them are rivals."""
    shape = output.value.shape
    if len(shape) == 1 or (shape[1] == 1 and shape == target.shape):
        sign = 1 - 2 * (target > 0.5).double().reshape(-1, 1)
        lead = as_model(multiply(output.reshape(-1, 1), sign))
        return lead, torch.ones_like(sign, dtype=torch.bool)
    logits, flat = rows(output, target)
    lead = margins(logits, flat)
    rival = torch.ones_like(lead.value, dtype=torch.bool)
    return lead, rival.scatter_(1, flat.long().unsqueeze(1), False)
