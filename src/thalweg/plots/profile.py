"""The picture of a profile: the criterion along the path, and the loss on every split."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from thalweg.connect import Connection
from thalweg.plots.figure import LOG_RATIO, new_figure
from thalweg.plots.files import write_figure
from thalweg.plots.profile_info import ProfileInfo, Step, compute_profile
from thalweg.plots.style import LIGHT, Palette, rc

# Bounds drawn one by one; of a longer string, several together.
_STEPS = 400
_DASHES = (0, (4, 2))
_STRAIGHT = "straight line A to B"


def draw_profile(info: ProfileInfo, axes: Sequence[Axes], palette: Palette = LIGHT) -> None:
    """Draw a profile into three axes, from top to bottom.

    The first compares the path with the straight line; the second looks at the path closely, with
    beads and bounds; the third shows the loss on every split.

    Args:
        info: what to draw.
        axes: three of them.
        palette: colours.
    """
    whole, close, losses = axes
    _draw_whole(info, whole, palette)
    _draw_close(info, close, palette)
    _draw_losses(info, losses, palette)
    losses.set_xlabel("distance travelled from A to B (fraction)")


def profile_figure(info: ProfileInfo, palette: Palette = LIGHT) -> Figure:
    """Draw a profile as a figure of its own, readable at a width of 600 pixels.

    Args:
        info: what to draw.
        palette: colours.

    Returns:
        The figure, bound to no window.
    """
    figure = new_figure(6.6, 8.4, palette)
    with mpl.rc_context(rc(palette)):
        axes = figure.subplots(3, 1, sharex=True, height_ratios=(4, 3, 4))
        draw_profile(info, list(axes), palette)
    return figure


def save_profile(connection: Connection, file: str | Path) -> None:
    """Write the picture of a connection's profile, completely or not at all.

    Args:
        connection: with a profile.
        file: ``.png``, ``.svg`` or ``.pdf``.

    Raises:
        InputError: if the connection has no profile, or the file cannot be written.
    """
    write_figure(profile_figure(compute_profile(connection)), file)


def _draw_whole(info: ProfileInfo, axes: Axes, palette: Palette) -> None:
    curve = info.criterion
    _line(axes, info.t, curve.straight, _STRAIGHT, color=palette.straight, linestyle=_DASHES)
    _line(axes, info.t, curve.path, _path_label(info), color=palette.path, linewidth=2.2)
    axes.axhline(info.threshold, color=palette.level, label=f"threshold L0 = {info.threshold:g}")
    _finish(axes, curve.name, (*curve.path, *curve.straight, info.threshold))


def _draw_close(info: ProfileInfo, axes: Axes, palette: Palette) -> None:
    curve = info.criterion
    axes.axhline(info.threshold, color=palette.level)
    steps = _fewer(info.bounds)
    axes.hlines(
        [step.bound for step in steps], [step.start for step in steps],
        [step.end for step in steps], color=palette.bound, linewidth=1.6,
        label=f"{info.certificate} bounds" if steps else "",
    )  # fmt: skip
    _line(axes, info.t, curve.path, "", color=palette.path, linewidth=2.2)
    beads = len(info.beads) - 2  # the other two are the endpoints
    axes.plot(
        info.beads, np.interp(info.beads, info.t, _numbers(curve.path)), linestyle="none",
        marker="o", markersize=6 if beads < 50 else 3, color=palette.path,
        markeredgecolor=palette.paper, markeredgewidth=0.7,
        label=f"endpoints and {beads:,} bead{'' if beads == 1 else 's'}",
    )  # fmt: skip
    bounds = [step.bound for step in info.bounds]
    _finish(axes, f"{curve.name}, close up", (*curve.path, *bounds, info.threshold))


def _draw_losses(info: ProfileInfo, axes: Axes, palette: Palette) -> None:
    styles = ((palette.path, "o"), (palette.other, "s"), (palette.level, "^"))
    for curve, (color, marker) in zip(info.losses, styles, strict=False):
        label = f"{curve.name} ({curve.examples:,} examples)"
        _line(axes, info.t, curve.path, label, color=color, linewidth=2.2, marker=marker,
              markersize=5, markevery=max(1, len(info.t) // 9))  # fmt: skip
        _line(axes, info.t, curve.straight, "", color=color, linestyle=_DASHES, linewidth=1.2)
    axes.plot([], [], color=palette.straight, linestyle=_DASHES, label=_STRAIGHT)
    _finish(axes, "loss", [v for c in info.losses for v in (*c.path, *c.straight)])


def _fewer(steps: Sequence[Step]) -> list[Step]:
    """As many steps as one can see: neighbours share the larger of their bounds."""
    size = math.ceil(len(steps) / _STEPS)
    groups = [steps[i : i + size] for i in range(0, len(steps), max(1, size))]
    return [Step(g[0].start, g[-1].end, max(step.bound for step in g)) for g in groups]


def _path_label(info: ProfileInfo) -> str:
    return "path" if info.connected else "path as far as it came"


def _numbers(values: Sequence[float | None]) -> np.ndarray:
    return np.array([math.nan if value is None else value for value in values])


def _line(
    axes: Axes, t: Sequence[float], values: Sequence[float | None], label: str, **style: Any
) -> None:
    # NaN leaves a gap in a line; _finish counts them.
    axes.plot(t, _numbers(values), label=label, **style)


def _finish(axes: Axes, name: str, values: Sequence[float | None]) -> None:
    """Label the vertical axis, choose its scale, and say what could not be drawn."""
    shown = [value for value in values if value is not None]
    if shown and min(shown) > 0 and max(shown) > LOG_RATIO * min(shown):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
        name += ", log scale"
    gaps = len(values) - len(shown)
    if gaps:
        axes.plot([], [], linestyle="none", label=f"gaps: {gaps} values that are not finite")
    axes.set_ylabel(name)
    axes.set_xlim(-0.015, 1.015)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
