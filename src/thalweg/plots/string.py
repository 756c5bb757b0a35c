"""Pictures of a string in the space of its principal components: snapshots and an animation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.animation import FFMpegWriter, FuncAnimation, PillowWriter
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, LogNorm, Normalize
from matplotlib.figure import Figure
from mpl_toolkits.mplot3d.art3d import Line3DCollection

from thalweg.errors import InputError
from thalweg.parameters import replacing
from thalweg.plots.figure import add_colorbar, new_figure
from thalweg.plots.files import check_format
from thalweg.plots.string_info import StringInfo
from thalweg.plots.style import LIGHT, Palette, rc

COLORS = ((0.0, "#1f5fd0"), (0.5, "#a23f9c"), (1.0, "#e0402a"))
"""From the threshold (blue) to the largest value (red)."""

MOVIES = (".gif", ".mp4")
"""What an animation can be saved as."""

_MAP = LinearSegmentedColormap.from_list("threshold to highest", COLORS)
_MISSING = "#9a9a9a"
# Snapshots as in Figure 3: one step in, on the way, near the end, finished.
_SNAPSHOTS = 4
# Points of a string above which a vector picture of it would be large.
_MANY = 600
# Frames of a movie at most, and each shown so long.
_FRAMES = 120
_PER_SECOND = 4


def string_figure(
    info: StringInfo, steps: Sequence[int] | None = None, palette: Palette = LIGHT
) -> Figure:
    """Draw the string at some steps of the algorithm, by default at up to four.

    Args:
        info: what to draw.
        steps: which; default: from after the first bead to the finished string.
        palette: colours.

    Returns:
        The figure, bound to no window.
    """
    chosen = list(steps) if steps is not None else snapshots(info)
    columns = min(2, len(chosen))
    rows = math.ceil(len(chosen) / columns)
    # Axes in space need room for their labels that no layout finds by itself.
    figure = new_figure(4.0 * columns + 1.2, 3.9 * rows, palette, arranged=False)
    figure.subplots_adjust(left=0.02, right=0.91, bottom=0.05, top=0.95, wspace=0.14, hspace=0.14)
    with mpl.rc_context(rc(palette)):
        for i, step in enumerate(chosen, 1):
            axes: Any = figure.add_subplot(rows, columns, i, projection="3d")
            draw_string(info, axes, step, palette)
        _colorbar(info, figure)
    return figure


def snapshots(info: StringInfo) -> list[int]:
    """Steps of up to four snapshots, the finished string the last."""
    if info.steps < _SNAPSHOTS:
        return [*range(info.steps + 1)]
    return [round(step) for step in np.linspace(1, info.steps, _SNAPSHOTS)]


def draw_string(info: StringInfo, axes: Any, step: int, palette: Palette = LIGHT) -> None:
    """Draw the string at one step, with its projections onto the three coordinate planes.

    Args:
        info: what to draw.
        axes: with three dimensions.
        step: of the algorithm.
        palette: colours.
    """
    there = info.at(step)
    points = np.array([point for stretch in there for point in stretch.points])
    low, high = _box(info)
    heavy = len(points) > _MANY  # so many lines are pixels also in a vector format
    for dimension, wall in enumerate((low[0], high[1], low[2])):
        shadow = points.copy()
        shadow[:, dimension] = wall
        axes.plot(*shadow.T, color=palette.ink, linewidth=0.7, alpha=0.55, rasterized=heavy)
    pairs, colors = [], []
    norm = _norm(info)
    for stretch in there:
        at = np.array(stretch.points)
        pairs += list(np.stack([at[:-1], at[1:]], axis=1))
        colors += [_color(a, b, norm) for a, b in zip(stretch.values, stretch.values[1:],
                                                      strict=False)]  # fmt: skip
    lines = Line3DCollection(pairs, colors=colors, linewidths=2.4, rasterized=heavy)
    axes.add_collection3d(lines, autolim=False)
    models = np.array([m for m, born in zip(info.models, info.models_born, strict=True)
                       if born <= step])  # fmt: skip
    size = 16 if len(models) < 60 else 4
    axes.scatter(*models.T, color=palette.ink, s=size, depthshade=False, rasterized=heavy)
    for name, end in (("A", info.models[0]), ("B", info.models[-1])):
        axes.text(*end, f"  {name}", color=palette.ink, fontweight="bold", fontsize=10)
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), zlim=(low[2], high[2]))
    axes.set_xlabel(axis_name(info, 0), fontsize=9)
    axes.set_ylabel(axis_name(info, 1), fontsize=9)
    axes.set_zlabel(axis_name(info, 2), fontsize=9)
    axes.tick_params(labelsize=7, pad=0)
    axes.set_title(step_name(info, step), fontsize=11)
    for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
        axis.set_pane_color(palette.paper)


def axis_name(info: StringInfo, axis: int) -> str:
    """Name of an axis, with the variance that it explains."""
    return f"PC {axis + 1} ({100 * info.explained[axis]:.3g} %)"


def step_name(info: StringInfo, step: int) -> str:
    """What a step shows, in words."""
    beads = f"{step} bead{'' if step == 1 else 's'}"
    if info.steps == 0:
        return "the path" if info.connected else "the path as far as it came"
    if step == info.steps:
        return f"{beads}: {'finished' if info.connected else 'as far as it came'}"
    return beads


def animate_string(info: StringInfo, file: str | Path, palette: Palette = LIGHT) -> None:
    """Write the algorithm at work as a movie, one frame a bead put in.

    Args:
        info: what to draw.
        file: ``.gif``; or ``.mp4``, where ffmpeg is installed.
        palette: colours.

    Raises:
        InputError: if the name ends otherwise, ffmpeg is missing, or it cannot be written.
    """
    file = check_format(file, MOVIES)
    if file.suffix.lower() == ".mp4":
        if not FFMpegWriter.isAvailable():
            raise InputError(
                "expected ffmpeg to write an .mp4, got none on this machine: install ffmpeg, or "
                "name the file .gif"
            )
        writer: Any = FFMpegWriter(fps=_PER_SECOND)
    else:
        writer = PillowWriter(fps=_PER_SECOND)
    frames = np.unique(np.linspace(0, info.steps, min(info.steps + 1, _FRAMES)).round())
    # The finished string stays for two seconds.
    shown = [*frames.astype(int).tolist(), *[info.steps] * (2 * _PER_SECOND)]
    figure = new_figure(6.8, 5.2, palette, arranged=False)
    figure.subplots_adjust(left=0.0, right=0.86, bottom=0.06, top=0.95)
    with mpl.rc_context(rc(palette)):
        axes: Any = figure.add_subplot(projection="3d")
        _colorbar(info, figure, axes)

        def frame(step: int) -> list[Any]:
            axes.clear()
            draw_string(info, axes, step, palette)
            return []

        movie = FuncAnimation(figure, frame, frames=shown, init_func=lambda: [])
        with replacing(file) as temporary:
            # The writers choose the format by the name.
            named = temporary.with_suffix(file.suffix.lower())
            try:
                movie.save(named, writer=writer, dpi=100)
                named.replace(temporary)
            finally:
                named.unlink(missing_ok=True)


def _norm(info: StringInfo) -> Normalize:
    high = info.high if info.high > info.threshold else 1.000001 * info.threshold
    return LogNorm(info.threshold, high, clip=True)


def _color(a: float | None, b: float | None, norm: Normalize) -> Any:
    """Colour of the line between two points: that of the higher one."""
    if a is None or b is None:
        return _MISSING
    return _MAP(float(norm(max(a, b, norm.vmin or 0.0))))


def _colorbar(info: StringInfo, figure: Figure, axes: Any = None) -> None:
    add_colorbar(
        figure, ScalarMappable(_norm(info), _MAP), axes if axes is not None else figure.axes,
        f"{info.criterion}: L0 = {info.threshold:g} to {info.high:.3g}",
        shrink=0.6, pad=0.1, fraction=0.05,
    )  # fmt: skip


def _box(info: StringInfo) -> tuple[np.ndarray, np.ndarray]:
    """A box around all that is ever shown, in which nothing moves but the string."""
    models = np.array(info.models)
    low, high = models.min(0), models.max(0)
    margin = 0.12 * np.maximum(high - low, 0.15 * (high - low).max())
    return low - margin, high + margin
