"""The numbers of the pictures that move, as the page's script takes them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from thalweg.geometry import Plane
    from thalweg.plots import StringInfo

# A string of more pieces than this is shown finished, without its steps.
STRETCHES = 1000


def string_data(info: StringInfo) -> dict[str, Any]:
    """What the string's picture and its slider need.

    Args:
        info: of the string.
    """
    from thalweg.plots.string import COLORS, axis_name, step_name

    few = len(info.stretches) <= STRETCHES
    steps = info.steps if few else 0
    shown = info.stretches if few else info.at(info.steps)
    return {
        "steps": steps,
        "names": [step_name(info, step) for step in range(steps + 1)] if few else ["finished"],
        "axes": [axis_name(info, axis) for axis in range(3)],
        "criterion": info.criterion,
        "threshold": info.threshold,
        "high": info.high,
        "colors": [list(color) for color in COLORS],
        "models": [_rounded(model) for model in info.models],
        "born": list(info.models_born) if few else [0] * len(info.models),
        "stretches": [
            {
                "left": s.left,
                "born": s.born if few else 0,
                "ended": s.ended if few else None,
                "points": [_rounded(point) for point in s.points],
                "values": _rounded(s.values),
            }
            for s in shown
        ],
    }


def plane_data(plane: Plane) -> dict[str, Any]:
    """What the plane's picture needs; cells that are not finite are null.

    Args:
        plane: over two axes.
    """
    values = plane.surface.values.T.tolist()
    return {
        "x": _rounded(plane.surface.axes[0].tolist()),
        "y": _rounded(plane.surface.axes[1].tolist()),
        "values": [_rounded(row) for row in values],
        "names": list(plane.names),
        "criterion": plane.criterion,
        "threshold": plane.threshold,
        "marks": [{"name": m.name, "at": _rounded(m.position)} for m in plane.marks],
        "lines": [
            {
                "name": line.name,
                "at": [_rounded(row) for row in line.positions.tolist()],
                "beads": line.beads,
            }
            for line in plane.lines
        ],
    }


def _rounded(values: Iterable[float | None]) -> list[float | None]:
    """Five digits, more than a picture can show; what is not finite is null."""
    return [
        float(f"{value:.5g}") if value is not None and math.isfinite(value) else None
        for value in values
    ]
