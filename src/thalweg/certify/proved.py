"""Proved certificates: a theorem for each segment, by chords or by Taylor models and bisection.

What is proved is a statement about the function of the stored weights in exact arithmetic, the
rounding of the proof's own float64 computation included (:mod:`thalweg.certify.rounding`).
Inference in float32 differs from that function by its own rounding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from thalweg.certify.bisection import prove_segments
from thalweg.certify.certificate import Certificate, Span
from thalweg.certify.chord import applies, prove_chords
from thalweg.certify.enclosure import enclose
from thalweg.certify.pieces import CLOSE, ProvedSegment, Task
from thalweg.certify.taylor import UnsupportedOperation
from thalweg.objective import Objective

# A value in the precision of the model this far above the threshold, relatively, is above it in
# exact arithmetic, too: rounding does not reach so far.
_CLEARLY = 1e-3
# Where the error rate at the middle is close to the threshold it is looked at beside it, too.
_BESIDE = 7 / 16, 9 / 16, 3 / 8, 5 / 8
# Parameters × examples up to which an evaluation is cheap.
_CHEAP = 1e8
# A whole curve is one span; as a string it would have about so many segments.
_SEGMENTS_OF_A_CURVE = 16


@dataclass(frozen=True)
class Proved:
    """Certifies by proof.

    Attributes:
        most_evaluations: of bounds and values on all examples that one segment may take; None:
            400, or 32 where they are costly: there one more bead is cheaper than a proof of a
            segment that comes close to the threshold. A curve may take as many as 16 segments.
        tolerance: relative gap between bound and value that is not pursued further.
        stack_bytes: bytes of models evaluated together.
    """

    most_evaluations: int | None = None
    tolerance: float = 1e-4
    stack_bytes: int = 1 << 28
    kind: str = "proved"

    def certify(self, objective: Objective, spans: Sequence[Span]) -> list[Certificate]:
        """Refuse what is clearly above the threshold at its middle; prove or refuse the rest.

        Args:
            objective: whose criterion.
            spans: the segments.

        Returns:
            One certificate a span.

        Raises:
            UnsupportedOperation: if the network or its loss uses an operation without a rule.
        """
        if applies(objective) is None and all(span.bends is None for span in spans):
            return self._by_chords(objective, spans)
        halves = _halves(objective, spans, self.stack_bytes)
        halves = [_beside(objective, *each) for each in zip(spans, halves, strict=True)]
        rest = [i for i, half in enumerate(halves) if half.refused_at is None]
        found = prove_segments(
            objective,
            [_task(objective, spans[i], halves[i]) for i in rest],
            max_evaluations=self._budget(objective) * _budgets(spans),
            tolerance=self.tolerance,
        )
        proofs = dict(zip(rest, found, strict=True))
        return [
            _certificate(spans[i], half, proofs[i]) if i in proofs else _refused(half)
            for i, half in enumerate(halves)
        ]

    def _by_chords(self, objective: Objective, spans: Sequence[Span]) -> list[Certificate]:
        """Values at a few points and curvatures prove many segments at once, or refuse them."""
        found = prove_chords(
            objective,
            torch.stack([span.start for span in spans]),
            torch.stack([span.end for span in spans]),
            [span.threshold for span in spans],
            max_evaluations=self._budget(objective),
            tolerance=self.tolerance,
        )
        return [
            _certificate(span, _Half(), segment) for span, segment in zip(spans, found, strict=True)
        ]

    def _budget(self, objective: Objective) -> int:
        if self.most_evaluations is not None:
            return self.most_evaluations
        work = objective.layout.size * len(objective.splits[objective.criterion.split])
        return 400 if work <= _CHEAP else 32


def unsupported(objective: Objective, theta: Tensor) -> UnsupportedOperation | None:
    """The first operation of an objective without a rule, tried on two examples; None if all have.

    Args:
        objective: to be certified.
        theta: `[p]`, where to try.
    """
    few = objective.with_examples(dict.fromkeys(objective.splits, 2))
    point = theta.to(objective.device, torch.float64)
    try:
        enclose(few, point, torch.zeros_like(point), 0.0)
    except UnsupportedOperation as error:
        return error
    return None


@dataclass(frozen=True)
class _Half:
    """The middle of a span in the precision of the model.

    Attributes:
        value: the criterion there, or a value that it exceeds; None: not looked at.
        refused_at: t where it is clearly above the threshold: there, or beside it.
        seen: the largest value.
        samples: examples looked at for that.
        points: at which.
    """

    value: float | None = None
    refused_at: float | None = None
    seen: float = -math.inf
    samples: int = 0
    points: int = 0


def _halves(objective: Objective, spans: Sequence[Span], stack_bytes: int) -> list[_Half]:
    """Look at the middle of every span that has a threshold."""
    found = [_Half()] * len(spans)
    rows = max(1, stack_bytes // (objective.layout.size * objective.layout.dtype.itemsize))
    by_level: dict[float, list[int]] = {}
    for i, span in enumerate(spans):
        if span.threshold is not None:
            by_level.setdefault(span.threshold, []).append(i)
    for level, same in by_level.items():
        ceiling = level + _CLEARLY * abs(level)
        for first in range(0, len(same), rows):
            part = same[first : first + rows]
            stack = torch.cat([spans[i].at([0.5]) for i in part])
            result = objective.criterion_of(stack, ceiling=ceiling)
            cost = result.samples // len(part)
            for i, value in zip(part, result.values[:, 0].tolist(), strict=True):
                found[i] = _Half(value, None if value <= ceiling else 0.5, value, cost, 1)
    return found


def _beside(objective: Objective, span: Span, half: _Half) -> _Half:
    """Look beside a middle whose error rate is close to the threshold.

    It goes up and down by examples: most such segments exceed the threshold nearby, and a few
    values cost far less than a proof that fails. Of a loss, which is smooth, the middle says as
    much.
    """
    level, value = span.threshold, half.value
    if level is None or value is None or half.refused_at is not None:
        return half
    if objective.criterion.name != "error_rate":
        return half
    if value <= level - CLOSE * abs(level):
        return half
    ceiling = level + _CLEARLY * abs(level)
    for t in _BESIDE:
        result = objective.criterion_of(span.at([t]), ceiling=ceiling)
        there = float(result.values[0, 0])
        half = replace(
            half, seen=max(half.seen, there), samples=half.samples + result.samples,
            points=half.points + 1, refused_at=None if there <= ceiling else t,
        )  # fmt: skip
        if half.refused_at is not None:
            break
    return half


def _budgets(spans: Sequence[Span]) -> int:
    """Budgets of a segment that each of these may take."""
    return 1 if all(span.bends is None for span in spans) else _SEGMENTS_OF_A_CURVE


def _task(objective: Objective, span: Span, half: _Half) -> Task:
    """The segment to prove; its middle is looked at again where it is not clearly low."""
    ends = span.start.to(objective.device), span.end.to(objective.device)
    bends = None if span.bends is None else span.bends.to(objective.device)
    level, value = span.threshold, half.value
    low = level is not None and value is not None and value <= level - _CLEARLY * abs(level)
    values = span.start_value, value if low else None, span.end_value
    return Task(*ends, level, values=values, bends=bends)


def _refused(half: _Half) -> Certificate:
    assert half.refused_at is not None
    return Certificate(
        bound=None, seen=half.seen, kind="proved", evaluations=2 + half.points,
        samples=half.samples, accepted=False, argmax=half.refused_at, half=half.value,
    )  # fmt: skip


def _certificate(span: Span, half: _Half, found: ProvedSegment) -> Certificate:
    bound = found.bound if math.isfinite(found.bound) else None
    return Certificate(
        bound=bound,
        seen=max(span.start_value, span.end_value, half.seen, found.seen),
        kind="proved",
        evaluations=2 + half.points,
        samples=half.samples,
        accepted=bound is not None and (span.threshold is None or bound <= span.threshold),
        argmax=_highest(found),
        half=found.half,
        bound_evaluations=found.evaluations,
        bound_samples=found.samples,
        pieces=found.pieces if bound is not None else (),
    )


def _highest(found: ProvedSegment) -> float:
    """Where the segment was refused, or its worst piece."""
    if found.refused_at is not None:
        return found.refused_at
    if not found.pieces:
        return 0.5
    left, right, _ = max(found.pieces, key=lambda piece: piece[2])
    return (left + right) / 2
