"""Basins: how far from a model its criterion stays below a level.

Along random directions through the model, as Huang et al. 2020 (*Understanding Generalization
through Visualizations*) measure the volume of a basin, on both sides, as He, Huang & Yuan 2019
(*Asymmetric Valleys*) compare them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from thalweg.documents import finite
from thalweg.errors import InputError
from thalweg.geometry.directions import Normalization, random_directions
from thalweg.objective import Objective
from thalweg.objective.flat import evaluate_on
from thalweg.parameters import Source

# Distances at which a level is first looked for: from the reach down, each so many times shorter.
_RATIO = math.sqrt(2)
_RUNGS = 25
# Points between the last one below and the first one above, laid anew until those two are as near
# as this, relatively, but not more often than so many times.
_BETWEEN = 15
_RESOLUTION = 1e-4
_TURNS = 12


@dataclass(frozen=True, eq=False)
class Basin:
    """The part of parameter space around a model that straight lines reach below a level.

    Attributes:
        level: of the objective's criterion.
        value: the criterion at the model.
        radii: `[k, 2]`, float64: how far along each direction, and against it, the criterion stays
            at or below the level; infinity where it does within the whole reach.
        reach: how far was looked.
        normalization: of the directions. ``"none"``: they are isotropic, and radii are Euclidean
            distances; else radii are multiples of a direction that is as long, filter by filter or
            layer by layer, as the model.
        size: number of parameters.
    """

    level: float
    value: float
    radii: Tensor
    reach: float
    normalization: Normalization
    size: int

    @property
    def radius(self) -> float:
        """The median radius."""
        return float(self.radii.flatten().median())

    @property
    def asymmetry(self) -> float:
        """Median over the directions of the longer of two opposite radii over the shorter one.

        1 for a symmetric basin; NaN where no direction has a radius that is known on both sides.
        """
        known = self.radii[torch.isfinite(self.radii).all(1)]
        if not len(known):
            return math.nan
        return float((known.amax(1) / known.amin(1).clamp_min(1e-300)).median())

    @property
    def log_volume(self) -> tuple[float, float]:
        """A lower bound of the log of the volume that straight lines reach, and its standard error.

        With `ω` the volume of the unit ball the volume is `ω E[r^p]`, whose Monte Carlo estimate is
        useless in many dimensions; its log is at least `log ω + p E[log r]` (Jensen), which this
        estimates. What lies beyond the reach is not counted.

        Raises:
            InputError: if the directions are normalized: then volumes depend on the model.
        """
        if self.normalization != "none":
            raise InputError(
                f"expected isotropic directions for a volume, got {self.normalization}-normalized "
                "ones: measure the basin with normalization 'none'"
            )
        p = self.size
        ball = p / 2 * math.log(math.pi) - math.lgamma(p / 2 + 1)
        # Opposite radii of a direction are not independent: the two count as one.
        logs = self.radii.clamp(1e-300, self.reach).log().mean(1)
        error = float(logs.std()) / math.sqrt(len(logs)) if len(logs) > 1 else math.inf
        return ball + p * float(logs.mean()), p * error

    def document(self) -> dict[str, Any]:
        """As a JSON-ready dictionary; what is not known is null."""
        volume, error = self.log_volume if self.normalization == "none" else (math.nan, math.nan)
        return {
            "level": self.level,
            "value": self.value,
            "radius": finite(self.radius),
            "asymmetry": finite(self.asymmetry),
            "log_volume_at_least": finite(volume),
            "log_volume_standard_error": finite(error),
            "radii": [[finite(radius) for radius in pair] for pair in self.radii.tolist()],
            "reach": self.reach,
            "normalization": self.normalization,
            "parameters": self.size,
        }


def basin(
    objective: Objective,
    model: Source,
    level: float,
    *,
    directions: int = 32,
    normalization: Normalization = "none",
    reach: float | None = None,
    seed: int = 0,
) -> Basin:
    """Measure how far around a model the criterion stays at or below a level.

    Args:
        objective: model, loss, data and criterion.
        model: in the basin.
        level: of the criterion, at least its value at the model.
        directions: how many random lines through the model.
        normalization: of the directions, see :func:`random_directions`.
        reach: how far to look; default: the norm of the model, or 1 where directions are
            normalized.
        seed: of the directions.

    Raises:
        InputError: if the model lies above the level, or `reach` or `directions` is not positive.

    Example:
        >>> from torch import nn
        >>> x, y = torch.eye(2), torch.zeros(2, 1)
        >>> objective = Objective(nn.Linear(2, 1, bias=False), nn.functional.mse_loss, train=(x, y))
        >>> found = basin(objective, torch.zeros(2), level=0.5, reach=3.0)
        >>> round(found.radius, 2), round(found.asymmetry, 2)
        (1.0, 1.0)
    """
    theta = objective.theta(model)
    value = objective.criterion_of(theta[None]).values.item()
    if not value <= level:
        raise InputError(
            f"expected a model at or below the level, got {value:.6g} with a level of {level:g}: "
            "raise the level or train the model further"
        )
    frame = random_directions(objective, theta, directions, seed=seed, normalization=normalization)
    rows = frame.directions.double()
    if normalization == "none":
        rows = rows / rows.norm(dim=1, keepdim=True)
    if reach is None:
        reach = 1.0 if normalization != "none" else float(theta.double().norm()) or 1.0
    radii = torch.stack([radii_along(objective, theta, row, level, reach) for row in rows])
    return Basin(level, value, radii, reach, normalization, len(theta))


def radii_along(
    objective: Objective, theta: Tensor, direction: Tensor, level: float, reach: float
) -> Tensor:
    """How far the criterion stays at or below a level along a direction, and against it.

    Looked for at distances that grow by √2, then between the two that matter until those are within
    1e-4 of each other: a ridge that rises and ends between two of the first distances is not seen.

    Args:
        objective: whose criterion.
        theta: `[p]`, at or below the level.
        direction: `[p]`.
        level: of the criterion.
        reach: how far to look, in multiples of the direction.

    Returns:
        `[2]`, float64: the largest distances known to be below; infinity beyond the reach.

    Raises:
        InputError: if the reach is not positive.
    """
    if not (reach > 0 and math.isfinite(reach)):
        raise InputError(f"expected to look a finite distance > 0 far, got {reach}")
    ladder = reach * _RATIO ** -torch.arange(_RUNGS - 1, -1, -1, dtype=torch.float64)
    low, high = torch.zeros(2, dtype=torch.float64), torch.full((2,), math.inf).double()
    points = ladder.repeat(2, 1)
    for _ in range(_TURNS):
        above = _above(objective, theta, direction, points, level)
        for side in range(2):
            if above[side].any():
                first = int(above[side].int().argmax())
                high[side] = points[side, first]
                low[side] = points[side, first - 1] if first else low[side]
            elif math.isfinite(high[side]):
                low[side] = points[side, -1]
        open_ = torch.isfinite(high) & (high - low > _RESOLUTION * high)
        if not open_.any():
            break
        points = torch.stack([_between(*ends) for ends in zip(low.tolist(), high.tolist(),
                                                              strict=True)])  # fmt: skip
    return torch.where(torch.isfinite(high), low, high)


def _between(low: float, high: float) -> Tensor:
    """Distances between two, evenly; from zero up by doubling, since it may be anywhere there."""
    if not math.isfinite(high):
        return torch.full((_BETWEEN,), low, dtype=torch.float64)
    if low == 0:
        return high * 0.5 ** torch.arange(_BETWEEN, 0, -1, dtype=torch.float64)
    share = torch.arange(1, _BETWEEN + 1, dtype=torch.float64) / (_BETWEEN + 1)
    return low + share * (high - low)


def _above(
    objective: Objective, theta: Tensor, direction: Tensor, points: Tensor, level: float
) -> Tensor:
    """Whether the criterion exceeds the level at distances `[2, n]` along and against."""
    criterion = objective.criterion
    coordinates = torch.cat([points[0], -points[1]])[:, None]
    found = evaluate_on(
        objective, theta, direction[None], coordinates, criterion.split, (criterion,),
        ceiling=level,
    )  # fmt: skip
    return ~(found.complete & (found.values[:, 0] <= level)).reshape(points.shape)
