"""Proved certificates: a theorem for each segment, by Taylor models and bisection.

What is proved is a statement about the function of the stored weights in exact arithmetic, the
rounding of the proof's own float64 computation included (:mod:`thalweg.certify.rounding`).
Inference in float32 differs from that function by its own rounding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from thalweg.certify.bisection import ProvedSegment, prove_segment
from thalweg.certify.certificate import Certificate, Span
from thalweg.certify.enclosure import enclose
from thalweg.certify.taylor import UnsupportedOperation
from thalweg.objective import Objective
from thalweg.paths import interpolate

# A value in the precision of the model this far above the threshold, relatively, is above it in
# exact arithmetic, too: rounding does not reach so far.
_CLEARLY = 1e-3
# Parameters × examples up to which an evaluation is cheap.
_CHEAP = 1e8


@dataclass(frozen=True)
class Proved:
    """Certifies by proof.

    Attributes:
        most_evaluations: of bounds and values on all examples that one segment may take; None:
            400, or 32 where they are costly: there one more bead is cheaper than a proof of a
            segment that comes close to the threshold.
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
        halves = _halves(objective, spans, self.stack_bytes)
        return [
            _refused(half, samples) if half is not None else self._prove(objective, span, samples)
            for span, (half, samples) in zip(spans, halves, strict=True)
        ]

    def _budget(self, objective: Objective) -> int:
        if self.most_evaluations is not None:
            return self.most_evaluations
        work = objective.layout.size * len(objective.splits[objective.criterion.split])
        return 400 if work <= _CHEAP else 32

    def _prove(self, objective: Objective, span: Span, samples: int) -> Certificate:
        found = prove_segment(
            objective, span.start.to(objective.device), span.end.to(objective.device),
            threshold=span.threshold, max_evaluations=self._budget(objective),
            tolerance=self.tolerance,
        )  # fmt: skip
        bound = found.bound if math.isfinite(found.bound) else None
        level = span.threshold
        values = [span.start_value, span.end_value, found.seen]
        return Certificate(
            bound=bound,
            seen=max(values),
            kind="proved",
            evaluations=2 + (samples > 0),
            samples=samples,
            accepted=bound is not None and (level is None or bound <= level),
            argmax=_highest(found),
            bound_evaluations=found.evaluations,
            bound_samples=found.samples,
            pieces=found.pieces if bound is not None else (),
        )


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


def _halves(
    objective: Objective, spans: Sequence[Span], stack_bytes: int
) -> list[tuple[float | None, int]]:
    """The middle of every span in the precision of the model: its value if clearly too high."""
    found: list[tuple[float | None, int]] = [(None, 0)] * len(spans)
    rows = max(1, stack_bytes // (objective.layout.size * objective.layout.dtype.itemsize))
    by_level: dict[float, list[int]] = {}
    for i, span in enumerate(spans):
        if span.threshold is not None:
            by_level.setdefault(span.threshold, []).append(i)
    for level, same in by_level.items():
        ceiling = level + _CLEARLY * abs(level)
        for first in range(0, len(same), rows):
            part = same[first : first + rows]
            stack = torch.cat([_middle(spans[i]) for i in part])
            result = objective.criterion_of(stack, ceiling=ceiling)
            cost = result.samples // len(part)
            for i, value in zip(part, result.values[:, 0].tolist(), strict=True):
                found[i] = (None if value <= ceiling else value, cost)
    return found


def _middle(span: Span) -> Tensor:
    return interpolate(span.start, span.end, torch.tensor([0.5]))


def _refused(half: float, samples: int) -> Certificate:
    return Certificate(
        bound=None, seen=half, kind="proved", evaluations=3, samples=samples, accepted=False,
        argmax=0.5, half=half,
    )  # fmt: skip


def _highest(found: ProvedSegment) -> float:
    """Where the segment was refused, or its worst piece."""
    if found.refused_at is not None:
        return found.refused_at
    if not found.pieces:
        return 0.5
    left, right, _ = max(found.pieces, key=lambda piece: piece[2])
    return (left + right) / 2
