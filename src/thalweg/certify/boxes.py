"""Boxes in input space that hold all examples, a few for many."""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass

import torch
from torch import Tensor

from thalweg.certify.jets import Interval
from thalweg.certify.rounding import ULTIMATE

_DIMENSIONS = 8
"""Inputs of more dimensions do not fall into few small boxes."""

_ON_A_LINE, _MOST = 32, 512
"""Boxes of inputs of one dimension, and of several, for each label."""

_SINGLE, _FEWER = 128, 8
"""Examples that may all have boxes of their own; of more, there are so many times fewer boxes."""

_WIDEST = 1 / 4
"""Share of the range of the data, in any dimension, that the widest box may have."""


@dataclass(frozen=True)
class Boxes:
    """Groups of examples.

    Attributes:
        inputs: `[features, boxes]`: contain the inputs of their examples.
        share: `[boxes]`: of all examples.
        target_lower: `[outputs, boxes]`: least target, or the label `[boxes]` of all its examples.
        target_upper: largest target, or the label again.
    """

    inputs: Interval
    share: Tensor
    target_lower: Tensor
    target_upper: Tensor


def group(inputs: Tensor, target: Tensor) -> Boxes | str:
    """Group examples; those of one box share their label where targets are labels.

    The widest box, relative to the range of the data, is halved at its median until there are
    enough.

    Args:
        inputs: `[n, d]`.
        target: `[n, outputs]`, or labels `[n]`.

    Returns:
        The boxes, or a few words that say why the examples do not fall into boxes.

    Example:
        >>> x = torch.linspace(0, 1, 1000, dtype=torch.float64)[:, None]
        >>> found = group(x, x)
        >>> len(found.share), bool((found.inputs.radius < 0.02).all())
        (32, True)
    """
    n, dimensions = inputs.shape
    if dimensions > _DIMENSIONS:
        return f"inputs have {dimensions} dimensions, more than {_DIMENSIONS}"
    extent = inputs.amax(0) - inputs.amin(0)
    scaled = inputs / torch.where(extent > 0, extent, 1)
    labels = target if target.ndim == 1 else torch.zeros_like(target[:, 0])
    parts = [torch.nonzero(labels == label)[:, 0] for label in labels.unique()]
    most = len(parts) * (_ON_A_LINE if dimensions == 1 else _MOST)
    most = min(n, most, max(_SINGLE, n // _FEWER))
    parts, widest = _halve(scaled, parts, most)
    if widest > _WIDEST:
        return f"inputs of {dimensions} dimensions do not fall into {most} small boxes"
    lower = torch.stack([inputs[part].amin(0) for part in parts], 1)
    upper = torch.stack([inputs[part].amax(0) for part in parts], 1)
    center = (lower + upper) / 2
    radius = torch.maximum(upper - center, center - lower) * (1 + ULTIMATE)
    share = inputs.new_tensor([len(part) / n for part in parts])
    return Boxes(
        Interval(center, radius), share,
        torch.stack([target[part].amin(0) for part in parts], -1),
        torch.stack([target[part].amax(0) for part in parts], -1),
    )  # fmt: skip


def _halve(scaled: Tensor, parts: list[Tensor], most: int) -> tuple[list[Tensor], float]:
    """Halve the widest part at its median until there are `most`; also the width of the widest."""
    counter = itertools.count()  # decides between equals
    heap = [(*_width(scaled, part), next(counter), part) for part in parts]
    heapq.heapify(heap)
    while len(heap) < most and heap[0][0] < 0:
        _, dimension, _, part = heapq.heappop(heap)
        order = part[scaled[part, dimension].argsort()]
        for half in order.tensor_split(2):
            heapq.heappush(heap, (*_width(scaled, half), next(counter), half))
    return [part for *_, part in heap], -heap[0][0]


def _width(scaled: Tensor, part: Tensor) -> tuple[float, int]:
    """The largest width, negative, and its dimension."""
    rows = scaled[part]
    width, dimension = (rows.amax(0) - rows.amin(0)).max(0)
    return -float(width), int(dimension)
