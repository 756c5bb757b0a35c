"""Best-first bisection of segments until their criterion is proved below a threshold.

Pieces of all segments stand in one queue, the one of largest bound first; how a piece is cut says
:mod:`thalweg.certify.pieces`.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from thalweg.certify.chunks import keep_memory
from thalweg.certify.enclosure import in_float64
from thalweg.certify.pieces import ProvedSegment, Search, Task


def prove_segment(
    objective: Any,
    theta_a: Tensor,
    theta_b: Tensor,
    *,
    threshold: float | None,
    max_evaluations: int,
    tolerance: float,
    cuts: Sequence[float] = (),
    bends: Tensor | None = None,
) -> ProvedSegment:
    """Bound the criterion on the straight segment, or a Bézier curve, between two models.

    Args:
        objective: model, loss, data and criterion.
        theta_a: `[p]`.
        theta_b: `[p]`.
        threshold: see :class:`Task`.
        max_evaluations: see :func:`prove_segments`.
        tolerance: see :func:`prove_segments`.
        cuts: see :class:`Task`.
        bends: see :class:`Task`.

    Returns:
        The outcome; its bound holds whatever the reason for stopping.

    Raises:
        UnsupportedOperation: for an operation without a rule, with its module's path.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from thalweg.objective import Objective
        >>> x = torch.linspace(-1, 1, 16).reshape(16, 1)
        >>> line = Objective(nn.Linear(1, 1, bias=False), nn.functional.mse_loss, train=(x, x))
        >>> ends = torch.tensor([0.0]), torch.tensor([2.0])
        >>> found = prove_segment(
        ...     line, *ends, threshold=0.5, max_evaluations=50, tolerance=1e-3
        ... )
        >>> found.reason, found.bound <= 0.5
        ('proved', True)
    """
    task = Task(theta_a, theta_b, threshold, cuts, bends=bends)
    return prove_segments(
        objective, [task], max_evaluations=max_evaluations, tolerance=tolerance
    )[0]  # fmt: skip


def prove_segments(
    objective: Any,
    tasks: Sequence[Task],
    *,
    max_evaluations: int,
    tolerance: float,
    progress: Callable[[], None] | None = None,
) -> list[ProvedSegment]:
    """Bound the criterion on straight segments, the piece of largest bound first.

    Args:
        objective: model, loss, data and criterion.
        tasks: the segments.
        max_evaluations: of the criterion on all examples that each segment may take, bounds,
            values and forecasts alike counted by the examples gone through. The last split may
            exceed it.
        tolerance: relative to the bound: a smaller gap between the bound and a value that was
            seen is not pursued.
        progress: called after every piece.

    Returns:
        One outcome a segment, in order.

    Raises:
        UnsupportedOperation: for an operation without a rule, with its module's path.
    """
    keep_memory()
    twin = in_float64(objective)
    searches = [Search(twin, task, max_evaluations, tolerance) for task in tasks]
    # Cheap refusals and the first pieces come first; then the worst piece of all segments is cut.
    queue: list[tuple[float, int]] = []
    for i, search in enumerate(searches):
        search.start()
        heapq.heappush(queue, (-search.highest, i))
        if progress:
            progress()
    while queue:
        _, i = heapq.heappop(queue)
        if searches[i].advance():
            heapq.heappush(queue, (-searches[i].highest, i))
        if progress:
            progress()
    return [search.result() for search in searches]
