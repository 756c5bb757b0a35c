"""The picture of a comparison: barrier and length of each method's path against its cost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from thalweg.connect import Connection
from thalweg.plots.comparison_info import ComparisonInfo, MethodRow, compute_comparison
from thalweg.plots.files import write_figure
from thalweg.plots.style import LIGHT, Palette, rc

_MARKERS = "osD^vP*Xph<>"


def draw_comparison(info: ComparisonInfo, axes: Sequence[Axes], palette: Palette = LIGHT) -> None:
    """Draw a comparison into two axes: barriers above, normalized lengths below.

    Methods that connect have filled markers; a cost of zero is drawn at the left edge.

    Args:
        info: what to draw.
        axes: two of them.
        palette: colours.
    """
    above, below = axes
    room = info.threshold - info.endpoint
    for i, row in enumerate(info.rows):
        _point(above, row, row.barrier, _MARKERS[i % len(_MARKERS)], palette)
        if row.normalized_length is not None:
            _point(below, row, row.normalized_length, _MARKERS[i % len(_MARKERS)], palette)
    above.axhline(room, color=palette.level, label=f"room below L0 = {info.threshold:g}")
    # Barriers differ by orders of magnitude, and may be zero.
    above.set_yscale("symlog", linthresh=max(room, 1e-12))
    above.yaxis.set_major_formatter("{x:g}")  # 10^-1 would be read as text
    above.set_ylim(bottom=0)
    above.set_ylabel(f"barrier, {info.criterion}")
    above.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
    below.set_ylabel("normalized length")
    below.set_xlabel("gradient samples")
    below.xaxis.set_major_formatter("{x:,.0f}")
    below.set_xlim(left=0)


def comparison_figure(info: ComparisonInfo, palette: Palette = LIGHT) -> Figure:
    """Draw a comparison as a figure of its own.

    Args:
        info: what to draw.
        palette: colours.

    Returns:
        The figure, bound to no window.
    """
    with mpl.rc_context(rc(palette)):
        figure = Figure(figsize=(6.6, 6.6), layout="constrained")
        FigureCanvasAgg(figure)
        draw_comparison(info, list(figure.subplots(2, 1, sharex=True)), palette)
    return figure


def save_comparison(connections: Sequence[Connection], file: str | Path) -> None:
    """Write the picture of a comparison, completely or not at all.

    Args:
        connections: of one pair, by several methods.
        file: ``.png``, ``.svg`` or ``.pdf``.

    Raises:
        InputError: if they are not of one pair, or the file cannot be written.
    """
    write_figure(comparison_figure(compute_comparison(connections)), file)


def _point(axes: Axes, row: MethodRow, height: float, marker: str, palette: Palette) -> None:
    """One method: filled where it connects."""
    axes.plot(
        [row.gradient_samples], [height], linestyle="none", marker=marker, markersize=9,
        color=palette.path, markerfacecolor=palette.path if row.connected else palette.paper,
        label=row.method, clip_on=False, zorder=3,
    )  # fmt: skip
