"""What figures have in common: their canvas, scales of colours, legends."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from thalweg.plots.style import LIGHT, Palette, rc

# Positive values that span more than this ratio are shown on a logarithmic scale.
LOG_RATIO = 10.0


def new_figure(
    width: float, height: float, palette: Palette = LIGHT, *, arranged: bool = True
) -> Figure:
    """An empty figure, bound to no window.

    Args:
        width: in inches.
        height: in inches.
        palette: colours.
        arranged: whether matplotlib finds the places of what is drawn.
    """
    with mpl.rc_context(rc(palette)):
        figure = Figure(figsize=(width, height), layout="constrained" if arranged else None)
        FigureCanvasAgg(figure)
    return figure


def color_scale(values: Iterable[float]) -> Normalize:
    """A scale of colours over finite values: logarithmic where they span much and are positive.

    Args:
        values: all of them, those that are not finite included.
    """
    shown = [value for value in values if math.isfinite(value)]
    low, high = (min(shown), max(shown)) if shown else (0.0, 1.0)
    if low > 0 and high > LOG_RATIO * low:
        return LogNorm(low, high)
    return Normalize(low, high if high > low else low + max(1e-12, 1e-6 * abs(low)))


def add_colorbar(
    figure: Figure, drawn: ScalarMappable, axes: Any, label: str, **style: Any
) -> None:
    """A bar of colours with plain numbers.

    Args:
        figure: to draw into.
        drawn: what has the colours.
        axes: beside which.
        label: what the colours are; a logarithmic scale is said in it.
        style: of the bar.
    """
    logarithmic = isinstance(drawn.norm, LogNorm)
    bar = figure.colorbar(drawn, ax=axes, label=label + (", log scale" if logarithmic else ""),
                          **style)  # fmt: skip
    if logarithmic:
        bar.ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        bar.ax.yaxis.set_minor_formatter(NullFormatter())
        bar.ax.minorticks_off()
    bar.ax.yaxis.set_major_formatter("{x:.3g}")


def legend_below(axes: Axes) -> None:
    """A legend under everything, where it covers nothing."""
    handles, labels = axes.get_legend_handles_labels()
    figure = axes.get_figure(root=True)
    if handles and figure is not None:
        figure.legend(handles, labels, loc="outside lower center", ncols=2)
