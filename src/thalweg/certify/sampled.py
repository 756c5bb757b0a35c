"""Sampled certificates: an adaptive estimate of the maximum along a segment.

A fixed grid looks at all places alike and misses what lies between its points. Here a segment is
sampled where a higher maximum could hide. The secants of neighbouring samples give second divided
differences; with their largest size `M` nearby, doubled on the concave side, the criterion between
two samples at distance `h` is estimated to stay below the parabola

    chord(τ) + M h² τ (1 − τ) / 2,    0 ≤ τ ≤ 1,

which is the sharp bound for a function with |f''| ≤ M. Where that exceeds the threshold, or next
to the largest values, the interval is halved. Accepted is a segment whose every interval stays at
or below the threshold. It remains an estimate: `M` is seen, not known. A bump that is narrower
than the spacing of the first points, and flat around them, leaves no trace in the secants: on a
cheap objective those lie 1/4096 apart, on an expensive one 1/8. A proof is another kind.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
import torch

from thalweg.certify.certificate import Certificate, Span
from thalweg.objective import Objective
from thalweg.objective.segments import SegmentPoints, evaluate_on_segments, sharing_pays

# A value this close to the threshold, relatively, is taken again in float64.
_NEAR = 0.02


@dataclass(frozen=True)
class Sampled:
    """Certifies by adaptive sampling.

    Attributes:
        least_points: every accepted segment is looked at in at least so many evenly spaced
            points, both ends included; a power of two plus one.
        cheap_work: model parameters × examples that a segment may always cost: where points are
            cheap, more of them are looked at than `least_points`, up to `dense_points`.
        dense_points: see `cheap_work`.
        most_points: a segment undecided after so many points is refused.
        finest: an interval is not halved below this width.
        stack_bytes: bytes of models evaluated together.
    """

    least_points: int = 9
    cheap_work: float = 5e6
    dense_points: int = 4097
    most_points: int = 1025
    finest: float = 2.0**-14
    stack_bytes: int = 1 << 28
    kind: str = "sampled"

    def certify(self, objective: Objective, spans: Sequence[Span]) -> list[Certificate]:
        """Certify segments together, refusing each at its first value above the threshold.

        Args:
            objective: whose criterion.
            spans: the segments.

        Returns:
            One certificate a span.
        """
        base = self._base_points(objective)
        sampling = [_Sampling(span, self, base) for span in spans]
        while active := [s for s in sampling if s.wanted]:
            _evaluate(objective, active, self.stack_bytes)
            for s in active:
                s.decide()
        return [s.certificate() for s in sampling]

    def _base_points(self, objective: Objective) -> int:
        work = objective.layout.size * len(objective.splits[objective.criterion.split])
        affordable = max(self.least_points, min(self.dense_points, int(self.cheap_work / work)))
        return (1 << int(math.log2(affordable - 1))) + 1


@dataclass
class _Sampling:
    """One segment under way: the samples so far and the points wanted next."""

    span: Span
    settings: Sampled
    base: int
    times: list[float] = field(default_factory=lambda: [0.0, 1.0])
    wanted: list[float] = field(default_factory=lambda: [0.5])
    samples: int = 0
    refused: bool = False
    potential: float | None = None
    potential_at: float = 0.5

    def __post_init__(self) -> None:
        self.values = [self.span.start_value, self.span.end_value]
        self.pending = [i / (self.base - 1) for i in range(1, self.base - 1)]
        self.pending.remove(0.5)
        self.most = max(self.settings.most_points, 2 * self.base)

    def record(self, time: float, value: float, samples: int) -> None:
        """Keep one sample; :meth:`decide` puts them in order."""
        self.times.append(time)
        self.values.append(value)
        self.samples += samples

    def decide(self) -> None:
        """Refuse, accept, or name the points wanted next."""
        self.wanted = []
        level = self.span.threshold
        highest = max(self.values)
        if not math.isfinite(highest) or (level is not None and highest > level):
            self.refused = True
            return
        if self.pending:
            self.wanted, self.pending = self.pending, []
            return
        order = np.argsort(self.times)
        t, f = np.array(self.times)[order], np.array(self.values)[order]
        potential = potentials(t, f)
        where = int(potential.argmax())
        self.potential = float(potential[where])
        self.potential_at = float((t[where] + t[where + 1]) / 2)
        if level is None:
            suspect = potential > highest + 1e-3 * abs(highest)
        else:
            suspect = (potential > level) | self._beside_the_top(f, potential, level)
        suspect &= np.diff(t) > 2 * self.settings.finest
        room = self.most - len(t)
        worst = np.argsort(-potential, kind="stable")
        chosen = [i for i in worst if suspect[i]][: max(0, room)]
        self.wanted = [float((t[i] + t[i + 1]) / 2) for i in chosen]

    def _beside_the_top(self, f: np.ndarray, potential: np.ndarray, level: float) -> np.ndarray:
        """Intervals beside the largest value that could still rise by a tenth of the gap above."""
        top = int(f.argmax())
        beside = np.zeros(len(potential), dtype=bool)
        beside[max(0, top - 1) : top + 1] = True
        return beside & (potential - f[top] > 0.1 * (level - f[top]))

    def certificate(self) -> Certificate:
        level, seen = self.span.threshold, max(self.values)
        bound = None if self.refused else self.potential
        accepted = bound is not None and (level is None or bound <= level)
        top = self.times[int(np.argmax(self.values))]
        undecided = not self.refused and not accepted
        return Certificate(
            bound=bound,
            seen=seen,
            kind="sampled",
            evaluations=len(self.times),
            samples=self.samples,
            accepted=accepted,
            argmax=self.potential_at if undecided else top,
            half=self.values[self.times.index(0.5)] if 0.5 in self.times else None,
        )


def potentials(t: np.ndarray, f: np.ndarray) -> np.ndarray:
    """Estimated upper bound of a function over each interval between its samples.

    Args:
        t: `[n]`, increasing, n ≥ 3.
        f: `[n]`, values.

    Returns:
        `[n − 1]`.

    Example:
        >>> t = np.linspace(0, 1, 4)
        >>> bool((potentials(t, t * (1 - t)).max() >= 0.25))
        True
    """
    h = np.diff(t)
    slope = np.diff(f) / h
    second = 2 * np.diff(slope) / (h[1:] + h[:-1])  # f'' at the interior samples
    size = np.maximum(-2 * second, np.abs(second) / 2)  # doubled where concave
    # An interval sees the differences centred at its two ends and at the next ones out.
    padded = np.concatenate([[0, 0], size, [0, 0]])
    m = np.max([padded[i : i + len(h)] for i in range(4)], axis=0)
    m = np.maximum(m, size.max() / 10)
    bulge = m * h**2 / 2
    rise = np.diff(f)
    tau = np.clip(0.5 + np.divide(rise, 2 * bulge, out=np.sign(rise), where=bulge > 0), 0, 1)
    inside = f[:-1] + rise * tau + bulge * tau * (1 - tau)
    return np.maximum(inside, np.maximum(f[:-1], f[1:]))


def _evaluate(objective: Objective, sampling: Sequence[_Sampling], stack_bytes: int) -> None:
    """Evaluate all wanted points of all segments, in stacks that fit in memory."""
    rows = max(1, stack_bytes // (objective.layout.size * objective.layout.dtype.itemsize))
    wanted = [(s, t) for s in sampling for t in s.wanted]
    for start in range(0, len(wanted), rows):
        part = wanted[start : start + rows]
        # Points of a segment that the part before has refused are not needed any more.
        live = [(s, t) for s, t in part if not s.refused]
        by_level: dict[float | None, list[tuple[_Sampling, float]]] = {}
        for s, t in live:
            by_level.setdefault(s.span.threshold, []).append((s, t))
        for level, points in by_level.items():
            _evaluate_points(objective, points, level)


def _evaluate_points(
    objective: Objective, points: Sequence[tuple[_Sampling, float]], level: float | None
) -> None:
    values, complete, samples = _values(objective, points, level)
    if level is not None and objective.layout.dtype != torch.float64:
        near = complete & (values <= level) & (values > level - _NEAR * abs(level))
        for i in near.nonzero()[:, 0].tolist():
            twin = objective.double()
            again = twin.criterion_of(_stack(twin, [points[i]]), ceiling=level)
            values[i] = again.values[0, 0]
            samples[i] += again.samples
    for (s, t), value, cost in zip(points, values.tolist(), samples.tolist(), strict=True):
        s.record(t, value, round(cost))
        if not math.isfinite(value) or (level is not None and value > level):
            s.refused = True


def _values(
    objective: Objective, points: Sequence[tuple[_Sampling, float]], level: float | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The criterion `[n]`, whether all examples were looked at, and how many were.

    Many points of one segment share the products of the first layer, also with those of the next
    one; few are one stack with those of other segments.
    """
    criterion = objective.criterion
    by_span = [list(same) for _, same in groupby(points, key=lambda point: id(point[0]))]
    shared = [
        same[0][0].span.bends is None and sharing_pays(objective, len(same)) for same in by_span
    ]
    lines = [same for same, many in zip(by_span, shared, strict=True) if many]
    alone = [
        point for same, many in zip(by_span, shared, strict=True) if not many for point in same
    ]
    parts = []
    if alone:
        parts.append((alone, objective.criterion_of(_stack(objective, alone), ceiling=level)))
    segments = [
        SegmentPoints(
            same[0][0].span.start, same[0][0].span.end,
            torch.tensor([t for _, t in same], dtype=torch.float64),
        ) for same in lines
    ]  # fmt: skip
    found = evaluate_on_segments(objective, segments, criterion.split, (criterion,), ceiling=level)
    parts += zip(lines, found, strict=True)
    place = {id(s): {} for s, _ in points}
    for i, (s, t) in enumerate(points):
        place[id(s)][t] = i
    values, samples = torch.empty(2, len(points), dtype=torch.float64)
    complete = torch.empty(len(points), dtype=torch.bool)
    for own, result in parts:
        rows = torch.tensor([place[id(s)][t] for s, t in own])
        values[rows], complete[rows] = result.values[:, 0], result.complete
        samples[rows] = result.samples / len(own)
    return values, complete, samples


def _stack(objective: Objective, points: Sequence[tuple[_Sampling, float]]) -> torch.Tensor:
    dtype = objective.layout.dtype
    parts = []
    for _, same in groupby(points, key=lambda point: id(point[0])):
        of_one = list(same)
        parts.append(of_one[0][0].span.at([t for _, t in of_one], dtype))
    return torch.cat(parts)
