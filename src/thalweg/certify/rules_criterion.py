"""From models of chunks to a bound of the criterion: sums of losses, counts of errors.

A tally holds what a piece of a segment says of each *open* example. Examples whose bound is good
enough already are *settled*: what they add to the criterion is kept as one line and a remainder,
valid on every part of the piece, and they are not gone through again when the piece is cut.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from thalweg.certify.parabola_loss import means
from thalweg.certify.ranges import reach
from thalweg.certify.rounding import FUNCTION, UNIT, gamma
from thalweg.certify.rules_algebra import mean, multiply
from thalweg.certify.rules_loss import margins, rows
from thalweg.certify.taylor import TaylorModel, as_model, structural


@dataclass(frozen=True)
class Settled:
    """What the settled examples add to the sum: value + slope · s + curve · s² ± noise, |s| <= 1.

    Attributes:
        value: of the sum at the centre of the piece; of errors, how many are certain.
        slope: its change over half the piece, but for the next.
        curve: the part that grows with the square of the distance; of errors, zero.
        noise: how far the sum may be from that parabola.
    """

    value: float = 0.0
    slope: float = 0.0
    curve: float = 0.0
    noise: float = 0.0

    def on_half(self, side: int, width: float) -> Settled:
        """The same on one half of the piece.

        Args:
            side: -1 for the left half, 1 for the right one.
            width: of the piece, in t.
        """
        # The ends of both pieces are rounded to u in t, which is u / width in s.
        moves = abs(self.slope) + 2 * abs(self.curve)
        slack = 8 * UNIT * (1 + 1 / width) * moves + 8 * UNIT * abs(self.value)
        return Settled(
            self.value + side * 0.5 * self.slope + 0.25 * self.curve,
            0.5 * self.slope + side * 0.5 * self.curve,
            0.25 * self.curve,
            _up(self.noise + slack),
        )

    def plus(self, value: float, slope: float, curve: float, noise: float) -> Settled:
        """With further examples."""
        v, d, q = self.value + value, self.slope + slope, self.curve + curve
        r = self.noise + noise
        return Settled(v, d, q, _up(r + 2 * UNIT * (abs(v) + abs(d) + abs(q))))

    @property
    def upper(self) -> float:
        """The sum is at most this on the whole piece."""
        line = self.value + abs(self.slope) + self.curve
        if self.curve < 0 and abs(self.slope) < -2 * self.curve:  # the vertex lies inside
            line = self.value + self.slope**2 / (-4 * self.curve)
        size = abs(self.value) + abs(self.slope) + abs(self.curve)
        return _up(line + self.noise + 8 * UNIT * size)


class LossTally:
    """Line, or parabola, and remainder of the loss of each open example.

    Args:
        settled: the other examples.
        total: number of all examples.
        perplexity: whether the criterion is the exponential of the mean loss.
        separable: whether the loss is known to be a mean of one value an example.
    """

    def __init__(
        self, settled: Settled, total: int, *, perplexity: bool = False, separable: bool = False
    ) -> None:
        self._settled = settled
        self._total = total
        self._perplexity = perplexity
        self._separable = separable
        self._ids: list[Tensor] = []
        self._parts: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []

    def add(self, loss: TaylorModel, ids: Tensor) -> None:
        """Collect a chunk: the mean over its examples, or one value an example."""
        terms = by_example(loss, len(ids)) if self._separable else None
        self._ids.append(ids)
        if terms is not None and terms.second is not None:
            self._parts.append(means(terms.second))
            return
        if terms is None:
            self._separable = False
            terms = as_model(multiply(loss if loss.ndim == 0 else mean(loss), len(ids)))
        else:
            terms = _mean_terms(terms)
        value = terms.value.reshape(-1)
        slope, noise = (
            torch.zeros_like(value) if part is None else part.reshape(-1)
            for part in (terms.slope, terms.remainder)
        )
        self._parts.append((value, slope, torch.zeros_like(value), noise))

    def bound(self) -> tuple[float, float, float]:
        """Upper bound of the criterion over the piece; lower and upper bound at its centre."""
        value, slope, curve, noise, error = self._sums()
        if not all(map(math.isfinite, (value, slope, curve, noise))):
            return math.inf, -math.inf, math.inf
        all_in = self._settled.plus(value, slope, curve, noise + error)
        upper = all_in.upper / self._total
        middle = (all_in.value + all_in.noise) / self._total
        seen = (all_in.value - all_in.noise) / self._total
        upper, seen, middle = _up(upper), -_up(-seen), _up(middle)
        if self._perplexity:
            grow = 1 + 2 * FUNCTION
            return _exp(upper) * grow, _exp(seen) / grow, _exp(middle) * grow
        return upper, seen, middle

    def settle(self, room: float) -> tuple[Settled, Tensor | None]:
        """Settle the examples whose remainders are smallest.

        Args:
            room: of the criterion, that the remainders of all settled examples may take up.

        Returns:
            The settled examples, and the ids of those still open; None: all are, and cannot be
            told apart.
        """
        if not self._separable:
            return self._settled, None
        parts = [torch.cat(column) for column in zip(*self._parts, strict=True)]
        ids, noise = torch.cat(self._ids), parts[-1]
        order = noise.argsort()
        # A remainder counts twice: the line may lie that far above the loss, too.
        taken = 2 * (noise[order].cumsum(0) + self._settled.noise) <= room * self._total
        settled, open_ids = order[taken], ids[order[~taken]]
        v, d, q, r, error = _sums(*(part[settled] for part in parts))
        return self._settled.plus(v, d, q, r + error), open_ids.sort().values

    def at_centre(self, settled: Settled, mean: float, count: int) -> float:
        """At least the criterion at the centre.

        Args:
            settled: all examples but some.
            mean: of those, there.
            count: how many they are.
        """
        found = (settled.value - settled.noise + mean * count) / self._total
        return _exp(found) if self._perplexity else found

    @property
    def about(self) -> float:
        """The criterion at the centre, about: where the line of every open example is."""
        value = self._settled.value + sum(float(parts[0].sum()) for parts in self._parts)
        return _exp(value / self._total) if self._perplexity else value / self._total

    @property
    def open_noise(self) -> float:
        """Sum of the remainders of the open examples."""
        return sum(float(parts[-1].sum()) for parts in self._parts)

    def _sums(self) -> tuple[float, ...]:
        if not self._parts:
            return 0.0, 0.0, 0.0, 0.0, 0.0
        return _sums(*(torch.cat(column) for column in zip(*self._parts, strict=True)))


def terms_of(loss: TaylorModel, examples: int) -> TaylorModel | None:
    """One value an example `[n]`, where the loss is that or a plain mean of such values."""
    terms = by_example(loss, examples)
    return None if terms is None else _mean_terms(terms)


def by_example(loss: TaylorModel, examples: int) -> TaylorModel | None:
    """The values `[n, k]` of which the loss is a plain mean, if it is one."""
    if loss.ndim == 0:
        loss = loss.cache.get("mean of", loss)
    if loss.ndim == 0 or loss.shape[0] != examples:
        return None
    return structural(lambda part: part.reshape(examples, -1), loss)


def _mean_terms(terms: TaylorModel) -> TaylorModel:
    if terms.shape[1] == 1:
        return structural(lambda part: part[:, 0], terms)
    return as_model(mean(terms, 1))


def _sums(*parts: Tensor) -> tuple[float, ...]:
    """Sums of all parts, and a bound of the rounding error of all of them."""
    sums = [float(part.sum()) for part in parts]
    size = sum(float(part.abs().sum()) for part in parts)
    return *sums, size * 2 * gamma(len(parts[0]) + 8)


def _up(value: float) -> float:
    return value + abs(value) * 8 * UNIT


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf


class ErrorTally:
    """Examples that may be wrong somewhere on the piece, and where.

    An example may be wrong at s where some score is not surely below the target's. Each rival
    gives a half-line of s, so that the set is {s <= a} and {s >= b} together. The largest number of
    examples whose sets share a point, not the number that have any, bounds the error rate.

    Args:
        settled: targets that are wrong on the whole piece count in its value; those that are right
            on all of it are settled, too, and add nothing.
        total: number of all examples.
    """

    def __init__(self, settled: Settled, total: int) -> None:
        self._settled = settled
        self._total = total
        # At the centre, beside those that are wrong throughout.
        self._surely_wrong = self._likely_wrong = 0
        self._targets = 1  # of an example
        self._throughout: list[Tensor] = []  # ids, one a target
        self._unsure: list[Tensor] = []
        self._ends: list[tuple[Tensor, Tensor]] = []

    def add(self, output: TaylorModel, target: Tensor, ids: Tensor) -> None:
        """Collect a chunk."""
        lead, rival = _leads(output, target)
        value = lead.value
        slope = torch.zeros_like(value) if lead.slope is None else lead.slope
        noise = torch.zeros_like(value) if lead.remainder is None else lead.remainder
        self._targets = len(value) // len(ids)
        far = reach(lead) * (1 + 8 * UNIT)
        maybe = rival & ~(value + far < 0)
        throughout = (rival & (value > far)).any(1)
        at_centre = (rival & (value > noise * (1 + 8 * UNIT))).any(1)
        likely = (rival & (value > 0)).any(1)
        self._surely_wrong += int((at_centre & ~throughout).sum())
        self._likely_wrong += int((likely & ~throughout).sum())
        unsure = maybe.any(1) & ~throughout
        owners = ids.repeat_interleave(self._targets)
        self._throughout.append(owners[throughout])
        self._unsure.append(owners[unsure])
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

    def bound(self) -> tuple[float, float, float]:
        """Upper bound of the criterion over the piece; lower and upper bound at its centre."""
        most = middle = 0
        if self._ends:
            left, right = (torch.cat(column) for column in zip(*self._ends, strict=True))
            # Wrong at s on the left, on the right, or on both sides: then everywhere.
            both = left >= right
            starts, ends = right[~both].sort().values, left[~both].sort().values
            points = torch.cat([starts, ends, starts.new_tensor([0.0, -1.0, 1.0])]).clamp(-1, 1)
            on_right = torch.searchsorted(starts, points, right=True)
            on_left = len(ends) - torch.searchsorted(ends, points)
            counts = on_right + on_left + int(both.sum())
            most, middle = int(counts.max()), int(counts[-3])
        certain = int(self._settled.value) + sum(map(len, self._throughout))
        targets = self._targets * self._total
        shares = (certain + count for count in (most, self._surely_wrong, middle))
        upper, seen, middle = (share / targets for share in shares)
        return upper, seen, middle

    def settle(self, room: float) -> tuple[Settled, Tensor | None]:
        """Settle the examples that are right on the whole piece, or wrong on all of it.

        Args:
            room: what is certain takes up none.

        Returns:
            As :meth:`LossTally.settle`.
        """
        del room
        open_ids = torch.cat(self._unsure).unique()
        # An example with several targets is settled as a whole, or open as a whole.
        throughout = torch.cat(self._throughout)
        wrong = int((~torch.isin(throughout, open_ids)).sum())
        return Settled(self._settled.value + wrong), open_ids

    def at_centre(self, settled: Settled, mean: float, count: int) -> float:
        """The criterion at the centre; see :meth:`LossTally.at_centre`."""
        wrong = int(settled.value) + round(mean * count * self._targets)
        return wrong / (self._targets * self._total)

    @property
    def about(self) -> float:
        """The criterion at the centre, about: by the signs of the lines, off by a few examples."""
        wrong = int(self._settled.value) + sum(map(len, self._throughout)) + self._likely_wrong
        return wrong / (self._targets * self._total)

    @property
    def open_noise(self) -> float:
        """Certainty has no remainder: what is open always is what keeps the bound up."""
        return math.inf


def _leads(output: TaylorModel, target: Tensor) -> tuple[TaylorModel, Tensor]:
    """Scores of the rivals above the target's `[m, c]`, and which of them are rivals."""
    shape = output.value.shape
    if len(shape) == 1 or (shape[1] == 1 and shape == target.shape):
        sign = 1 - 2 * (target > 0.5).double().reshape(-1, 1)
        lead = as_model(multiply(output.reshape(-1, 1), sign))
        return lead, torch.ones_like(sign, dtype=torch.bool)
    logits, flat = rows(output, target)
    lead = margins(logits, flat, signs=True)
    rival = torch.ones_like(lead.value, dtype=torch.bool)
    return lead, rival.scatter_(1, flat.long().unsqueeze(1), False)


Tally = LossTally | ErrorTally
