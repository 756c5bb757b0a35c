"""Valleys: how wide the region below a level is across a path, and how long along it.

Draxler et al. 2018 and Garipov et al. 2018 find minima at the floor of one valley; this
measures its walls: at points of the path, the distance to the level in directions normal to it, of
which random ones see the typical width and the sharpest one the narrow waist.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from thalweg.documents import finite
from thalweg.errors import InputError
from thalweg.geometry.basins import radii_along
from thalweg.geometry.eigen import eigenpairs
from thalweg.geometry.products import Curvature
from thalweg.geometry.spectrum import bead_places
from thalweg.objective import Objective
from thalweg.paths import Path

# Share of a path between the two points that give its tangent.
_STEP = 1e-4
# Of the residual of the sharpest direction, relative.
_TOLERANCE = 1e-2


@dataclass(frozen=True, eq=False)
class CrossSection:
    """A valley at one point of a path.

    Attributes:
        t: fraction of the path's length.
        value: the criterion there: the floor.
        radii: `[k, 2]`, float64: distance to the level along random unit vectors normal to the
            path, and against them; infinity beyond the reach.
        narrow: `[2]`: the same along the sharpest direction, normal to the path.
    """

    t: float
    value: float
    radii: Tensor
    narrow: Tensor

    @property
    def width(self) -> float:
        """Median over the random directions of the distance from wall to wall."""
        return float(self.radii.sum(1).median())

    @property
    def narrow_width(self) -> float:
        """Distance from wall to wall along the sharpest direction."""
        return float(self.narrow.sum())

    def document(self) -> dict[str, Any]:
        """As a JSON-ready dictionary; a width beyond the reach is null."""
        return {
            "t": self.t,
            "value": self.value,
            "width": finite(self.width),
            "narrow_width": finite(self.narrow_width),
        }


@dataclass(frozen=True, eq=False)
class Valley:
    """The valley below a level around a path.

    Attributes:
        level: of the criterion.
        length: of the path.
        sections: along it, in order.
        reach: how far walls were looked for.
    """

    level: float
    length: float
    sections: tuple[CrossSection, ...]
    reach: float

    @property
    def width(self) -> float:
        """Median of the sections' widths."""
        return _median([section.width for section in self.sections])

    @property
    def narrow_width(self) -> float:
        """The least of the sections' narrow widths: the waist."""
        return min(section.narrow_width for section in self.sections)

    @property
    def aspect(self) -> float:
        """How many times as long as narrow: length over the median narrow width.

        Infinite where that is zero, on a path that runs at the level itself.
        """
        width = _median([section.narrow_width for section in self.sections])
        return self.length / width if width else math.inf

    def document(self) -> dict[str, Any]:
        """As a JSON-ready dictionary."""
        return {
            "level": self.level,
            "length": self.length,
            "width": finite(self.width),
            "narrow_width": finite(self.narrow_width),
            "aspect": finite(self.aspect),
            "reach": self.reach,
            "sections": [section.document() for section in self.sections],
        }


def valley(
    objective: Objective,
    path: Path,
    level: float,
    *,
    t: Sequence[float] | None = None,
    directions: int = 8,
    reach: float | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Valley:
    """Measure the walls of the valley around a path.

    Args:
        objective: model, loss, data and criterion.
        path: such as that of a connection.
        level: of the criterion, at least its values at the points looked at.
        t: where, in [0, 1]; default: at every bead of a string, both endpoints included, or at 17
            points of a curve.
        directions: random ones at each point.
        reach: how far to look for walls; default: the norm of the path's first point.
        seed: of the directions.
        progress: called with the points done and those in all.

    Raises:
        InputError: if a point lies above the level, there is no point, `reach` or `directions` is
            not positive, or the path has no length or no direction normal to it.

    Example:
        >>> from torch import nn
        >>> from thalweg.paths import Polygonal
        >>> x, y = torch.tensor([[0.0, 1.0]]), torch.zeros(1, 1)
        >>> objective = Objective(nn.Linear(2, 1, bias=False), nn.functional.mse_loss, train=(x, y))
        >>> path = Polygonal(torch.tensor([[0.0, 0.0], [4.0, 0.0]]), objective.layout)
        >>> found = valley(objective, path, level=0.25, reach=8.0)
        >>> round(found.width, 2), round(found.aspect, 2)
        (1.0, 4.0)
    """
    if directions < 1:
        raise InputError(f"expected at least one direction, got {directions}")
    if not path.length > 0 or objective.layout.size < 2:
        raise InputError(
            "expected a path of some length among two or more parameters, got "
            f"length {path.length:g} and {objective.layout.size}: a valley has two sides"
        )
    places = list(t) if t is not None else bead_places(path)
    if not places:
        raise InputError("expected at least one point of the path to look at, got none")
    if reach is None:
        reach = float(path.at(torch.zeros(1).double())[0].double().norm()) or path.length
    generator = torch.Generator().manual_seed(seed)
    sections = []
    for i, place in enumerate(places, 1):
        sections.append(_section(objective, path, place, level, directions, reach, generator))
        if progress:
            progress(i, len(places))
    return Valley(level, path.length, tuple(sections), reach)


def _section(
    objective: Objective,
    path: Path,
    place: float,
    level: float,
    directions: int,
    reach: float,
    generator: torch.Generator,
) -> CrossSection:
    around = torch.tensor([place, max(place - _STEP, 0.0), min(place + _STEP, 1.0)]).double()
    here, before, after = path.at(around).double()
    theta = here.to(objective.layout.dtype).to(objective.device)
    value = objective.criterion_of(theta[None]).values.item()
    if not value <= level:
        raise InputError(
            f"expected a path at or below the level, got {value:.6g} at t = {place:.4g} with a "
            f"level of {level:g}: raise the level"
        )
    along = after - before
    if not along.any():  # a hairpin: both sides of the bead are the same
        along = after - here
    tangent = along / along.norm()
    noise = torch.randn(directions, len(theta), generator=generator, dtype=torch.float64)
    rows = _normal(torch.cat([noise, _sharpest(objective, theta, tangent)[None]]), tangent)
    found = [radii_along(objective, theta, row, level, reach) for row in rows]
    return CrossSection(place, value, torch.stack(found[:-1]), found[-1])


def _sharpest(objective: Objective, theta: Tensor, tangent: Tensor) -> Tensor:
    """The eigenvector of the largest eigenvalue, or of the next where that runs along the path.

    Of two orthogonal vectors at most one lies within 45 degrees of a third.
    """
    pairs = eigenpairs(Curvature(objective, theta), 2, tolerance=_TOLERANCE)
    first, second = pairs.vectors.double()
    return second if float((first @ tangent).square()) > 0.5 else first


def _normal(rows: Tensor, tangent: Tensor) -> Tensor:
    """Unit vectors along what is normal to the tangent in each row."""
    for _ in range(2):  # once more for what rounding leaves
        rows = rows - (rows @ tangent)[:, None] * tangent
        rows = rows / rows.norm(dim=1, keepdim=True)
    return rows


def _median(values: list[float]) -> float:
    return float(torch.tensor(values, dtype=torch.float64).median())
