"""Evaluation at points of straight segments, which share what they have in common.

The points of a segment share two runs of the first layer (:mod:`thalweg.objective.flat`). Two
segments that meet in a model lie in one plane, and share three runs in place of four: for each of
its outputs that saves as many multiplications as it has inputs, and costs one more a point.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from thalweg.objective.criterion import Criterion
from thalweg.objective.flat import _cut, _least_points, evaluate_on
from thalweg.objective.objective import Evaluation, Objective

# Points that do not pay where something else than linear layers follows.
_FEW = 6


def sharing_pays(objective: Objective, points: int) -> bool:
    """Whether so many points of one segment cost less together than in a stack with any others.

    Args:
        objective: whose model.
        points: how many.
    """
    cut = _cut(objective)
    if cut is None:
        return False
    return points > max(_least_points(cut, 2), _FEW if cut.chain is None else 0)


@dataclass(frozen=True, eq=False)
class SegmentPoints:
    """Points of a straight segment.

    Attributes:
        start: `[p]`, at t = 0.
        end: `[p]`, at t = 1.
        t: `[k]`, where the points are.
    """

    start: Tensor
    end: Tensor
    t: Tensor


def evaluate_on_segments(
    objective: Objective,
    segments: Sequence[SegmentPoints],
    split: str,
    measures: tuple[Criterion, ...],
    *,
    ceiling: float | None = None,
) -> list[Evaluation]:
    """Measures at points of segments; of neighbours that meet, two at a time where that pays.

    Args:
        objective: whose model, loss and data.
        segments: with at least one point each.
        split: name of the split.
        measures: what to take.
        ceiling: as in :func:`thalweg.objective.evaluate_on`.

    Returns:
        One evaluation a segment: the values of :meth:`Objective.evaluate` to rounding.

    Example:
        >>> from torch import nn
        >>> x, y = torch.eye(2), torch.zeros(2, 1)
        >>> model = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
        >>> objective = Objective(model, nn.functional.mse_loss, train=(x, y))
        >>> a, b, c = torch.arange(39.0).reshape(3, 13)
        >>> t = torch.tensor([0.25, 0.75])
        >>> both = [SegmentPoints(a, b, t), SegmentPoints(b, c, t)]
        >>> [len(e.values) for e in evaluate_on_segments(objective, both, "train", (Criterion(),))]
        [2, 2]
    """
    cut = _cut(objective)
    inputs = 0 if cut is None else cut.layer.weight[0].numel()
    found: list[Evaluation] = []
    while len(found) < len(segments):
        here = segments[len(found) : len(found) + 2]
        if len(here) == 2 and sum(len(one.t) for one in here) < inputs and _meet(*here):
            found += _through_one(objective, *here, split, measures, ceiling)
            continue
        start = here[0].start.to(torch.float64)
        direction = (here[0].end.to(torch.float64) - start)[None]
        found.append(
            evaluate_on(
                objective, start, direction, here[0].t[:, None], split, measures, ceiling=ceiling
            )
        )
    return found


def _meet(before: SegmentPoints, after: SegmentPoints) -> bool:
    return torch.equal(before.end, after.start)


def _through_one(
    objective: Objective, before: SegmentPoints, after: SegmentPoints, split: str,
    measures: tuple[Criterion, ...], ceiling: float | None,
) -> list[Evaluation]:  # fmt: skip
    """Two segments on the plane of the model in which they meet and their other ends."""
    middle = after.start.to(torch.float64)
    directions = torch.stack([end.to(torch.float64) - middle for end in (before.start, after.end)])
    counts = [len(before.t), len(after.t)]
    coordinates = torch.zeros(sum(counts), 2, dtype=torch.float64)
    coordinates[: counts[0], 0] = 1 - before.t.to(coordinates)
    coordinates[counts[0] :, 1] = after.t.to(coordinates)
    both = evaluate_on(objective, middle, directions, coordinates, split, measures, ceiling=ceiling)
    samples = both.samples * counts[0] // sum(counts)
    return [
        Evaluation(values, complete, count, own)
        for values, complete, count, own in zip(
            both.values.split(counts), both.complete.split(counts), counts,
            (samples, both.samples - samples), strict=True,
        )
    ]  # fmt: skip
