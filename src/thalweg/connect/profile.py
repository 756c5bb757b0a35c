"""Loss and criterion along a path, on every split, and on the straight line for comparison.

The paper asks whether a path that is low in empirical risk is low in oracle risk (Section 5):
hence every split the objective has, whichever one the criterion is taken on.
"""

from __future__ import annotations

from bisect import bisect, insort
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from thalweg.connect.connection import Profile
from thalweg.documents import finite
from thalweg.objective import Criterion, Objective, evaluate_on
from thalweg.paths import Bezier, Path, Polygonal

# Examples of a split that carries no criterion, and of any split for the straight line, which
# serves for comparison: a fair sample, since splits are shuffled.
_EXAMPLES = 2000
# Bytes of models evaluated together.
_STACK_BYTES = 1 << 26
# Points of a segment that was replaced.
_REPLACED = 9


def profile(
    objective: Objective, path: Path, points: int = 17, history: Sequence[int] = ()
) -> Profile:
    """Evaluate loss and criterion along a path and along the line between its ends.

    Args:
        objective: whose loss, criterion and splits.
        path: from θA to θB.
        points: evaluated along each curve, besides the beads and three in every segment.
        history: of a connection: the segments that its beads replaced are evaluated, too.

    Returns:
        The profile. On the path, the criterion's split is gone through whole; other splits, the
        straight line and replaced segments, up to 2,000 examples.
    """
    if isinstance(path, Bezier):
        return _profile(objective, path, np.linspace(0, 1, max(2, points)))
    beads = _bead_fractions(path)
    # Long strings need more points than were asked for, or their segments show no shape.
    inside = [beads[:-1] + np.diff(beads) * q for q in (0.25, 0.5, 0.75)]
    t = np.unique(np.concatenate([np.linspace(0, 1, max(2, points)), beads, *inside]))
    return _profile(objective, path, t, history)


def _profile(
    objective: Objective, path: Path, at: np.ndarray, history: Sequence[int] = ()
) -> Profile:
    """The profile at some t of the path, which are fractions of its length but for a curve."""
    t = path.fractions(at) if isinstance(path, Bezier) else at
    ends = path.points[0], path.points[-1]
    values: dict[str, tuple[float | None, ...]] = {}
    linear: dict[str, tuple[float | None, ...]] = {}
    examples: dict[str, int] = {}
    measures = _measures(objective)
    own = objective.criterion.split
    sample = objective.with_examples(dict.fromkeys(objective.splits, _EXAMPLES))
    limited = objective.with_examples({n: _EXAMPLES for n in objective.splits if n != own})
    rows = max(1, _STACK_BYTES // (path.points.shape[1] * path.points.dtype.itemsize))
    for name, split in limited.splits.items():
        examples[name] = len(split)
        along = [
            _evaluate(limited, path.at(torch.from_numpy(at[start : start + rows])), name, measures)
            for start in range(0, len(at), rows)
        ]
        across = _evaluate_line(sample, *ends, torch.from_numpy(t), name, measures)
        for i, measure in enumerate(measures):
            key = f"{measure.name}/{name}"
            values[key] = _finite(torch.cat(along)[:, i])
            linear[key] = _finite(across[:, i])
    beads = _bead_fractions(path)
    replaced = _replaced(sample, path, history)
    return Profile(tuple(t.tolist()), tuple(beads.tolist()), values, linear, examples, replaced)


def replaced_segments(history: Sequence[int]) -> list[tuple[int, int]]:
    """Places of the ends of the segment that each bead replaced, in order.

    Args:
        history: places of the beads, in the order in which they were put in.

    Example:
        >>> replaced_segments([2, 1, 3])
        [(0, 4), (0, 2), (2, 4)]
    """
    there = [0, len(history) + 1]
    found = []
    for place in history:
        at = bisect(there, place)
        found.append((there[at - 1], there[at]))
        insort(there, place)
    return found


def _replaced(
    objective: Objective, path: Path, history: Sequence[int]
) -> tuple[tuple[float | None, ...], ...]:
    t = torch.linspace(0, 1, _REPLACED, dtype=torch.float64)
    chosen, own = (objective.criterion,), objective.criterion.split
    return tuple(
        _finite(_evaluate_line(objective, path.points[a], path.points[b], t, own, chosen)[:, 0])
        for a, b in replaced_segments(history)
    )


def _measures(objective: Objective) -> tuple[Criterion, ...]:
    loss = Criterion("loss")
    return (loss,) if objective.criterion.measure == "loss" else (loss, objective.criterion)


def _bead_fractions(path: Path) -> np.ndarray:
    """Where models lie on the path, as fractions of the length; of a curve, its ends alone."""
    if not isinstance(path, Polygonal):
        return np.array([0.0, 1.0])
    knots = np.concatenate([[0.0], np.cumsum(path.segment_lengths)])
    if knots[-1] == 0:
        return np.array([0.0, 1.0])
    knots = knots / knots[-1]
    knots[-1] = 1.0
    return knots


def _finite(values: Tensor) -> tuple[float | None, ...]:
    return tuple(map(finite, values.tolist()))


def _evaluate(
    objective: Objective, stack: Tensor, split: str, measures: tuple[Criterion, ...]
) -> Tensor:
    return objective.evaluate(stack.to(objective.device), split, measures).values


def _evaluate_line(
    objective: Objective,
    start: Tensor,
    end: Tensor,
    t: Tensor,
    split: str,
    measures: tuple[Criterion, ...],
) -> Tensor:
    """Values at points of a straight line, which share the work of the first layer."""
    start, end = start.to(objective.device), end.to(objective.device)
    direction = (end.double() - start.double())[None]
    return evaluate_on(objective, start, direction, t[:, None], split, measures).values
