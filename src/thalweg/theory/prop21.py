"""Proposition 2.1: where all level sets are connected, every strict local minimum is global.

Freeman & Bruna 2017, Proposition 2.1. The converse of what the proof uses can be seen on a
landscape in two dimensions: at the level of a strict local minimum that is not global, the level
set has a component of that minimum alone and another one that holds the global minimum.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, cast

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from thalweg.errors import InputError
from thalweg.theory.statement import Chart, Finding, Series, Statement

Grid = NDArray[np.float64]


@dataclass(frozen=True)
class _Landscape:
    """A function on a rectangle.

    Attributes:
        value: of the function, elementwise.
        x: ends of the rectangle along x.
        y: and along y.
    """

    value: Callable[[Grid, Grid], Grid]
    x: tuple[float, float]
    y: tuple[float, float]


LANDSCAPES = {
    # One minimum in a bent valley: Rosenbrock's function, with walls so flat (.5 for 100) that the
    # grid does not cut its floor into pits of its own.
    "banana": _Landscape(
        lambda x, y: (1 - x) ** 2 + 0.5 * (y - x**2) ** 2, (-2.0, 2.0), (-1.0, 3.0)
    ),
    # Two minima of one height at (±1, 0).
    "double-well": _Landscape(lambda x, y: (x**2 - 1) ** 2 + y**2, (-2.0, 2.0), (-1.5, 1.5)),
    # The same, tilted: the minimum near (-1, 0) is global, the one near (1, 0) is not.
    "tilted-double-well": _Landscape(
        lambda x, y: (x**2 - 1) ** 2 + y**2 + 0.3 * x, (-2.0, 2.0), (-1.5, 1.5)
    ),
    # Six minima in three pairs of one height each (Dixon & Szegö 1978).
    "six-hump-camel": _Landscape(
        lambda x, y: (4 - 2.1 * x**2 + x**4 / 3) * x**2 + x * y + (4 * y**2 - 4) * y**2,
        (-2.0, 2.0),
        (-1.2, 1.2),
    ),
}

_EIGHT_NEIGHBOURS = np.ones((3, 3), dtype=int)


def local_minima(values: Grid) -> Grid:
    """Values of the cells that lie below all their neighbours.

    Args:
        values: `[n, m]` on a grid.

    Returns:
        The values, lowest first. Cells on the edge of the grid do not count.

    Example:
        >>> local_minima(np.array([[3.0, 3, 3, 3, 3], [3, 1, 2, 0, 3], [3, 3, 3, 3, 3]]))
        array([0., 1.])
    """
    around = _EIGHT_NEIGHBOURS.astype(bool)
    around[1, 1] = False
    lowest = ndimage.minimum_filter(values, footprint=around, mode="constant", cval=-np.inf)
    return np.sort(values[values < lowest])


def components(values: Grid, level: float) -> int:
    """Count the components of a level set.

    Args:
        values: `[n, m]` on a grid.
        level: cells at or below it belong to the set; diagonal neighbours are joined.

    Returns:
        How many there are.

    Example:
        >>> components(np.array([[3.0, 3, 3, 3, 3], [3, 1, 2, 0, 3], [3, 3, 3, 3, 3]]), 1.5)
        2
    """
    _, count = cast(tuple[Grid, int], ndimage.label(values <= level, structure=_EIGHT_NEIGHBOURS))
    return count


def check(
    landscape: Annotated[str, f"Landscape: {', '.join(LANDSCAPES)}."] = "tilted-double-well",
    resolution: Annotated[int, "Points of the grid along each axis."] = 401,
    levels: Annotated[int, "Levels of the picture."] = 60,
) -> Finding:
    """Compare the minima of a landscape with the components of its level sets.

    Args:
        landscape: one of ``LANDSCAPES``.
        resolution: points of the grid along each axis.
        levels: at which components are counted for the picture, besides those of the minima.

    Returns:
        Whether a minimum that is not global and a level with several components come together.

    Raises:
        InputError: if there is no such landscape, fewer than 3 points or 2 levels, or a grid too
            coarse to show a minimum.

    Example:
        >>> check("banana", resolution=201).values["minima"]
        [0.0]
    """
    if landscape not in LANDSCAPES:
        raise InputError(f"expected a landscape ({', '.join(LANDSCAPES)}), got {landscape!r}")
    if resolution < 3 or levels < 2:
        raise InputError(
            f"expected a resolution of at least 3 and at least 2 levels, got {resolution} "
            f"and {levels}: take more"
        )
    chosen = LANDSCAPES[landscape]
    x, y = np.meshgrid(
        np.linspace(*chosen.x, resolution), np.linspace(*chosen.y, resolution), indexing="ij"
    )
    values = chosen.value(x, y)
    minima = local_minima(values)
    if not len(minima):
        raise InputError(
            f"expected a grid fine enough to show a minimum of {landscape}, got a resolution of "
            f"{resolution}: take a larger one"
        )
    scale = float(np.abs(minima).max()) or 1.0
    bad = minima[minima > minima[0] + 1e-9 * scale]
    # At the level of a minimum above the global one, both belong to the level set (Appendix B.1).
    counts = [components(values, float(level)) for level in bad]
    spread = np.linspace(minima[0], np.quantile(values, 0.5), levels)
    along = [components(values, float(level)) for level in spread]
    connected = max(along + counts) == 1
    return Finding(
        holds=all(count > 1 for count in counts) and (not connected or len(bad) == 0),
        sentence=(
            f"{landscape}: {len(minima)} local minima on a grid of {resolution} x {resolution}, "
            f"{len(bad)} of them above the global one; at their levels the level set has "
            f"{', '.join(map(str, counts))} components."
            if len(bad)
            else f"{landscape}: every local minimum found is global ({len(minima)} of them), and "
            f"the level sets have at most {max(along)} components."
        ),
        values={
            "landscape": landscape,
            "minima": [float(value) for value in minima],
            "levels_of_bad_minima": [float(value) for value in bad],
            "components_at_bad_minima": counts,
            "all_level_sets_connected": connected,
        },
        charts=(
            Chart(
                title=f"Components of the level sets of {landscape}",
                x_label="level",
                y_label="components",
                series=(
                    Series(
                        label="components",
                        x=tuple(map(float, spread)),
                        y=tuple(map(float, along)),
                    ),
                ),
            ),
        ),
    )


PROP_21 = Statement(
    name="prop-2.1",
    source="Freeman & Bruna 2017, Proposition 2.1",
    claim="If all level sets are connected, every strict local minimum is global: at the level of "
    "one that is not, the level set has two components or more.",
    check=check,
)
