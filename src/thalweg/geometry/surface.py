"""A criterion on a grid over a line or plane of parameter space.

The plane through a model along two directions is the picture of Goodfellow et al. 2015 and Li et
al. 2018; which directions make two pictures comparable (their filter normalization) is another
matter: directions are taken as they are given.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from thalweg.errors import InputError
from thalweg.geometry.partial import Partial, surface_key
from thalweg.objective import Criterion, Objective, evaluate_on
from thalweg.objective.batchnorm import tracked_layers
from thalweg.parameters import Source

# Points evaluated between two reports of progress. The values of a piece do not depend on the
# others, so that a surface taken up again is the one that was not interrupted.
_POINTS = 256
# The same where BatchNorm's statistics are estimated at every point, which shares nothing with the
# others and takes long.
_POINTS_ALONE = 16

Extent = float | Sequence[float] | Sequence[Sequence[float]]
"""`e` for `[-e, e]` along every axis, `(low, high)` for every axis, or one such pair an axis."""


@dataclass(frozen=True, eq=False)
class Surface:
    """Values on a grid over a line or plane: `θ = origin + Σ_j axes[j][i_j] · directions[j]`.

    Attributes:
        values: `[n, m]` over a plane, `[n]` along a line, float64: the first measure. Where the
            network's output is not finite, neither is the value.
        axes: one tensor `[n]`, or two, `[n]` and `[m]`, float64: the displacements taken, as
            multiples of the directions.
        norms: Euclidean lengths of the directions.
        measures: name of a measure to its values; the first is `values`.
        split: the data they were taken on.
        examples: how many.
        key: hash of the weights and of everything else that the values depend on, where they were
            kept in a file.
    """

    values: Tensor
    axes: tuple[Tensor, ...]
    norms: tuple[float, ...]
    measures: Mapping[str, Tensor]
    split: str
    examples: int
    key: str | None = None

    @property
    def finite(self) -> Tensor:
        """Which cells hold a finite value, of the shape of `values`."""
        return torch.isfinite(self.values)


def surface(
    objective: Objective,
    origin: Source,
    directions: Source | Sequence[Source],
    extent: Extent,
    shape: int | Sequence[int],
    *,
    split: str | None = None,
    measures: Sequence[Criterion] | None = None,
    progress: Callable[[int, int], None] | None = None,
    resume: str | Path | None = None,
) -> Surface:
    """Evaluate the criterion on a grid over the line or plane through a point.

    Args:
        objective: whose criterion.
        origin: where all displacements are zero: a module, state dict, flat vector or file.
        directions: one direction for a line or two for a plane, each in any of these forms, or a
            tensor `[1, p]` or `[2, p]`. They are not scaled.
        extent: how far to go, in multiples of the directions: `e` for `[-e, e]`, `(low, high)`,
            or one pair an axis.
        shape: evenly spaced points, both ends included: `n` along every axis, or one number an
            axis.
        split: the data; default: the criterion's split.
        measures: what to take, all on that split; default: the criterion alone.
        progress: called with the points done and the points in all.
        resume: a file that keeps the values while they are computed. If it holds values of this
            very surface (same weights, directions, grid, data, model and versions), they are not
            computed again: an interrupted surface goes on, and equals the uninterrupted one bit
            for bit. Values of another surface are replaced. The file is left in place.

    Returns:
        The surface.

    Raises:
        InputError: if a model does not fit the objective, or directions, extent and shape do not
            fit each other.

    Example:
        >>> from torch import nn
        >>> x, y = torch.eye(2), torch.zeros(2, 1)
        >>> objective = Objective(nn.Linear(2, 1, bias=False), nn.functional.mse_loss, train=(x, y))
        >>> found = surface(objective, torch.zeros(2), torch.eye(2), ((0, 2), (-1, 1)), (3, 2))
        >>> found.axes
        (tensor([0., 1., 2.], dtype=torch.float64), tensor([-1.,  1.], dtype=torch.float64))
        >>> found.values
        tensor([[0.5000, 0.5000],
                [1.0000, 1.0000],
                [2.5000, 2.5000]], dtype=torch.float64)
    """
    chosen = tuple(measures) if measures is not None else (objective.criterion,)
    name = split if split is not None else objective.criterion.split
    if not chosen or len({measure.name for measure in chosen}) < len(chosen):
        raise InputError(
            "expected measures with names of their own, got "
            f"{', '.join(measure.name for measure in chosen) or 'none'}"
        )
    if name not in objective.splits:
        raise InputError(
            f"expected a split among {', '.join(objective.splits)}, got '{name}': name one that "
            "the objective has data for"
        )
    theta = objective.theta(origin, "the origin")
    rows = _directions(objective, directions)
    axes = _axes(extent, shape, len(rows))
    grid = torch.cartesian_prod(*axes).reshape(-1, len(rows))
    together = _POINTS_ALONE if tracked_layers(objective.model) else _POINTS
    key = None
    if resume is not None:
        key = surface_key(objective, theta, rows, axes, name, chosen, together)
    partial = Partial(None if resume is None else Path(resume), key or "", len(grid), len(chosen))
    with partial:
        while partial.done < len(grid):
            part = grid[partial.done : partial.done + together]
            found = evaluate_on(objective, theta, rows, part, name, chosen).values
            partial.add(found, objective.plans)
            if progress is not None:
                progress(partial.done, len(grid))
    values = partial.values.reshape(*(len(axis) for axis in axes), len(chosen))
    taken = {measure.name: values[..., i].contiguous() for i, measure in enumerate(chosen)}
    return Surface(
        values=taken[chosen[0].name],
        axes=axes,
        norms=tuple(torch.linalg.vector_norm(rows, dim=1, dtype=torch.float64).tolist()),
        measures=MappingProxyType(taken),
        split=name,
        examples=len(objective.splits[name]),
        key=key,
    )


def _directions(objective: Objective, given: Source | Sequence[Source]) -> Tensor:
    """`[m, p]`, one row or two."""
    if isinstance(given, Tensor):
        sources: list[Source] = list(given) if given.ndim == 2 else [given]
    elif isinstance(given, Sequence) and not isinstance(given, str):
        sources = list(given)
    else:
        sources = [given]
    if len(sources) not in (1, 2):
        raise InputError(f"expected one direction or two, got {len(sources)}")
    rows = torch.stack([
        objective.theta(source, f"direction {i + 1}") for i, source in enumerate(sources)
    ])  # fmt: skip
    if not rows.any(dim=1).all():
        raise InputError("expected directions that lead somewhere, got one that is all zeros")
    return rows


def _axes(extent: Extent, shape: int | Sequence[int], count: int) -> tuple[Tensor, ...]:
    """One tensor of displacements an axis, from the lowest to the highest."""
    counts = [shape] * count if isinstance(shape, int) else list(shape)
    if len(counts) != count or any(not isinstance(n, int) or n < 2 for n in counts):
        raise InputError(
            f"expected a shape of {count} whole numbers of at least 2, one a direction, got {shape}"
        )
    pairs = _pairs(extent, count)
    if len(pairs) != count or any(len(pair) != 2 for pair in pairs):
        raise InputError(
            f"expected an extent e, (low, high) or {count} such pairs, one a direction, "
            f"got {extent}"
        )
    for low, high in pairs:
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise InputError(f"expected a finite extent with low < high, got ({low}, {high})")
    return tuple(
        torch.from_numpy(np.linspace(low, high, n))  # whose middle is an exact zero
        for (low, high), n in zip(pairs, counts, strict=True)
    )


def _pairs(extent: Extent, count: int) -> list[Sequence[float]]:
    if isinstance(extent, int | float):
        return [(-float(extent), float(extent))] * count
    given = list(extent)
    if all(isinstance(end, int | float) for end in given):
        return [[float(end) for end in given if isinstance(end, int | float)]] * count
    return [list(pair) for pair in given if not isinstance(pair, int | float)]
