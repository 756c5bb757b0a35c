"""Pictures of surfaces: a map of a plane with what lies on it, a relief, the curve of a line."""

from __future__ import annotations

from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from thalweg.errors import InputError
from thalweg.geometry import Plane
from thalweg.plots.figure import add_colorbar, color_scale, legend_below, new_figure
from thalweg.plots.style import LIGHT, Palette, rc
from thalweg.plots.table import Table

Style = Literal["heat", "contour", "relief"]
STYLES: tuple[Style, ...] = ("heat", "contour", "relief")
"""Cells as they were evaluated; lines of equal value; a surface in space."""

_COLORS = "viridis"
_MISSING = "#9a9a9a"
_LEVELS = 12


def plane_figure(plane: Plane, style: Style = "heat", palette: Palette = LIGHT) -> Figure:
    """Draw a plane; over a line, the curve of all measures.

    Args:
        plane: what to draw.
        style: how, of :data:`STYLES`.
        palette: colours.

    Returns:
        The figure, bound to no window.

    Raises:
        InputError: if there is no such style.
    """
    if style not in STYLES:
        raise InputError(f"expected a style among {', '.join(STYLES)}, got '{style}'")
    relief = style == "relief" and len(plane.surface.axes) == 2
    figure = new_figure(6.6, 5.8, palette, arranged=not relief)
    with mpl.rc_context(rc(palette)):
        if len(plane.surface.axes) == 1:
            axes = figure.subplots()
            draw_line(plane, axes, palette)
            legend_below(axes)
        elif relief:
            figure.subplots_adjust(left=0.0, right=0.86, bottom=0.05, top=0.98)
            axes = figure.add_subplot(projection="3d")
            draw_relief(plane, axes, palette)
        else:
            axes = figure.subplots()
            draw_plane(plane, axes, style, palette)
            legend_below(axes)
    return figure


def draw_plane(
    plane: Plane,
    axes: Axes,
    style: Style = "heat",
    palette: Palette = LIGHT,
    scale: Any = None,
    *,
    colorbar: bool = True,
) -> Any:
    """Draw a map: values, the threshold's contour, paths and models.

    Args:
        plane: over two axes.
        axes: to draw into.
        style: ``"heat"`` or ``"contour"``.
        palette: colours.
        scale: of the colours; default: from the lowest to the highest finite value.
        colorbar: whether to draw one.

    Returns:
        What has the colours, for a bar that several axes share.
    """
    x, y = (axis.numpy() for axis in plane.surface.axes)
    values = np.ma.masked_invalid(plane.surface.values.numpy().T)
    norm = scale or color_scale(plane.surface.values.flatten().tolist())
    drawn: Any
    if style == "contour":
        levels = _levels(norm)
        drawn = axes.contourf(x, y, values, levels=levels, norm=norm, cmap=_COLORS, extend="both")
        axes.contour(x, y, values, levels=levels, colors=palette.ink, linewidths=0.5, alpha=0.6)
        axes.set_facecolor(_MISSING)
    else:
        drawn = axes.imshow(
            values, origin="lower", extent=_extent(x, y), norm=norm, interpolation="nearest",
            aspect="auto", cmap=mpl.colormaps[_COLORS].with_extremes(bad=_MISSING),
        )  # fmt: skip
    axes.grid(visible=False)
    _draw_threshold(plane, axes, x, y, values)
    _draw_lines(plane, axes)
    for mark in plane.marks:
        place = mark.position[0], mark.position[1]
        axes.plot(*place, linestyle="none", marker="*", markersize=13, color="white",
                  markeredgecolor="black")  # fmt: skip
        axes.annotate(mark.name, place, xytext=(7, 6), textcoords="offset points",
                      color="black", fontweight="bold",
                      bbox={"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none",
                            "alpha": 0.75})  # fmt: skip
    axes.set(xlabel=plane.names[0], ylabel=plane.names[1])
    missing = int(np.ma.count_masked(values))
    if missing:
        axes.plot([], [], linestyle="none", marker="s", markersize=9, color=_MISSING,
                  label=f"{missing} cells that are not finite")  # fmt: skip
    left, right, bottom, top = _extent(x, y)
    if style == "contour":
        left, right, bottom, top = x[0], x[-1], y[0], y[-1]
    axes.set(xlim=(left, right), ylim=(bottom, top))
    figure = axes.get_figure(root=True)
    if figure is not None and colorbar:
        add_colorbar(figure, drawn, axes, plane.criterion)
    return drawn


def draw_relief(plane: Plane, axes: Any, palette: Palette = LIGHT) -> None:
    """Draw the surface in space; cells that are not finite are holes.

    Args:
        plane: over two axes.
        axes: with three dimensions.
        palette: colours.
    """
    x, y = np.meshgrid(*(axis.numpy() for axis in plane.surface.axes), indexing="ij")
    values = np.where(plane.surface.finite.numpy(), plane.surface.values.numpy(), np.nan)
    norm = color_scale(values.flatten().tolist())
    height, label = values, plane.criterion
    if isinstance(norm, LogNorm):  # three-dimensional axes have no logarithmic scale
        with np.errstate(invalid="ignore"):
            height, label = np.log10(values), f"log10 of {plane.criterion}"
    axes.plot_surface(
        x, y, height, facecolors=mpl.colormaps[_COLORS](norm(np.ma.masked_invalid(values))),
        rstride=1, cstride=1, edgecolor=(0, 0, 0, 0.25), linewidth=0.2, shade=False,
    )  # fmt: skip
    axes.set(xlabel=plane.names[0], ylabel=plane.names[1])
    axes.set_zlabel(label, labelpad=10)
    axes.tick_params(labelsize=9)
    axes.view_init(elev=38, azim=-60)
    missing = int((~plane.surface.finite).sum())
    if missing:
        axes.set_title(f"{missing} cells that are not finite are left out", fontsize=10)
    for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
        axis.set_pane_color(palette.paper)


def draw_line(plane: Plane, axes: Axes, palette: Palette = LIGHT) -> None:
    """Draw all measures along a line; gaps where they are not finite.

    Args:
        plane: over one axis.
        axes: to draw into.
        palette: colours.
    """
    (x,) = plane.surface.axes
    colors = (palette.path, palette.other, palette.bound, palette.straight)
    for (name, values), color in zip(plane.surface.measures.items(), colors, strict=False):
        shown = np.where(np.isfinite(values.numpy()), values.numpy(), np.nan)
        label = f"{name.replace('_', ' ')} on {plane.surface.split}"
        axes.plot(x.numpy(), shown, color=color, label=label)
    if plane.threshold is not None:
        axes.axhline(plane.threshold, color=palette.level,
                     label=f"threshold L0 = {plane.threshold:g}")  # fmt: skip
    for mark in plane.marks:
        axes.axvline(mark.position[0], color=palette.straight, linestyle=":")
        axes.annotate(mark.name, (mark.position[0], 1), xycoords=("data", "axes fraction"),
                      xytext=(3, -14), textcoords="offset points")  # fmt: skip
    missing = int((~plane.surface.finite).sum())
    if missing:
        axes.plot([], [], linestyle="none", label=f"gaps: {missing} values that are not finite")
    if isinstance(color_scale(plane.surface.values.tolist()), LogNorm):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")  # 10^-1 would be read as text
    axes.set(xlabel=plane.names[0], ylabel=plane.criterion)


def plane_table(plane: Plane) -> Table:
    """All values of a plane, one row a cell.

    Args:
        plane: whose.

    Returns:
        The displacements along each axis, every measure, and whether the first is finite.
    """
    found = plane.surface
    grid = np.meshgrid(*(axis.numpy() for axis in found.axes), indexing="ij")
    columns = [axis.flatten().tolist() for axis in grid]
    columns += [values.flatten().tolist() for values in found.measures.values()]
    columns.append(found.finite.flatten().tolist())
    names = [f"{name} on {found.split}" for name in found.measures]
    return Table((*plane.names, *names, "finite"), list(zip(*columns, strict=True)))


def plane_positions(plane: Plane) -> Table:
    """Where models and paths lie on a plane, and how far off it.

    Args:
        plane: whose.
    """
    rows: list[tuple[Any, ...]] = [
        ("model", mark.name, *mark.position, mark.distance) for mark in plane.marks
    ]
    for line in plane.lines:
        kind = "bead" if line.beads else "point of the curve"
        rows += [
            (kind, line.name, *position, distance)
            for position, distance in zip(
                line.positions.tolist(), line.distances.tolist(), strict=True
            )
        ]
    return Table(("what", "name", *plane.names, "distance off the plane"), rows)


def _draw_threshold(
    plane: Plane, axes: Axes, x: np.ndarray, y: np.ndarray, values: np.ma.MaskedArray
) -> None:
    level = plane.threshold
    if level is None or not values.count() or not values.min() < level < values.max():
        return
    axes.contour(x, y, values, levels=[level], colors="white", linewidths=2.6)
    axes.contour(x, y, values, levels=[level], colors="#c00000", linewidths=1.3)
    axes.plot([], [], color="#c00000", label=f"threshold L0 = {level:g}")


def _draw_lines(plane: Plane, axes: Axes) -> None:
    colors = ("white", "#ffb000", "#ff7ab8")
    for line, color in zip(plane.lines, colors, strict=False):
        x, y = line.positions.T.numpy()
        off = float(line.distances.max())
        label = line.name + (f" (up to {off:.3g} off the plane)" if off > 1e-3 else "")
        axes.plot(x, y, color=color, linewidth=1.6, label=label,
                  path_effects=[withStroke(linewidth=3.2, foreground="black")],
                  marker="o" if line.beads else None, markersize=4,
                  markeredgecolor="black", markeredgewidth=0.6)  # fmt: skip


def _extent(x: np.ndarray, y: np.ndarray) -> tuple[float, float, float, float]:
    """Edges of the outermost cells, whose middles are the displacements taken."""
    dx, dy = (x[1] - x[0]) / 2, (y[1] - y[0]) / 2
    return float(x[0] - dx), float(x[-1] + dx), float(y[0] - dy), float(y[-1] + dy)


def _levels(norm: Any) -> np.ndarray:
    low, high = float(norm.vmin), float(norm.vmax)
    spaced = np.geomspace if isinstance(norm, LogNorm) else np.linspace
    return spaced(low, high, _LEVELS)
