"""The record of a certificate, and what a method of certifying provides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from thalweg.objective import Objective
from thalweg.paths import bezier, interpolate


@dataclass(frozen=True)
class Certificate:
    """An upper bound of the criterion over a whole segment, and how it was got.

    Attributes:
        bound: upper bound over the segment; for ``"sampled"`` an estimate from the samples'
            secants, for ``"proved"`` a theorem; None where the segment was refused before there was
            one.
        seen: the largest value evaluated.
        kind: ``"sampled"`` or ``"proved"``.
        evaluations: points of the segment at which the criterion was evaluated, ends included.
        samples: examples looked at for that.
        accepted: whether the bound is at or below the threshold.
        argmax: where in [0, 1] the largest value (or the largest possible one) lies.
        half: the criterion at one half, or a value that it exceeds; None if not evaluated.
        bound_evaluations: intervals bounded, and values taken to decide where, by a proof.
        bound_samples: examples gone through for that.
        pieces: of a proof: `(t_left, t_right, bound)` in order, covering [0, 1].
    """

    bound: float | None
    seen: float
    kind: str
    evaluations: int
    samples: int
    accepted: bool
    argmax: float
    half: float | None = None
    bound_evaluations: int = 0
    bound_samples: int = 0
    pieces: tuple[tuple[float, float, float], ...] = ()


@dataclass(frozen=True, eq=False)
class Span:
    """A segment to certify, or a Bézier curve: its ends and the criterion there.

    Attributes:
        start: `[p]`.
        end: `[p]`.
        start_value: criterion at the start, every example looked at.
        end_value: criterion at the end.
        threshold: L0; None: bound the criterion as tightly as the budget allows.
        bends: `[m, p]`, control points between the ends of a Bézier curve; None: a segment.
    """

    start: Tensor
    end: Tensor
    start_value: float
    end_value: float
    threshold: float | None
    bends: Tensor | None = None

    def at(self, t: Sequence[float], dtype: torch.dtype | None = None) -> Tensor:
        """Points `[len(t), p]` at some t in [0, 1], in the dtype of the ends or another."""
        start, end = (part.to(dtype or part.dtype) for part in (self.start, self.end))
        times = torch.tensor(t, dtype=torch.float64)
        if self.bends is None:
            return interpolate(start, end, times)
        return bezier(torch.cat([start[None], self.bends.to(start), end[None]]), times)


class Certifier(Protocol):
    """A method of certifying segments, many at once."""

    @property
    def kind(self) -> str:
        """``"sampled"`` or ``"proved"``."""
        ...

    def certify(self, objective: Objective, spans: Sequence[Span]) -> list[Certificate]:
        """One certificate a span, in order."""
        ...
