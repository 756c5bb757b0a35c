"""Charts of lines and points: what a :class:`thalweg.theory.Chart` says, drawn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from thalweg.errors import InputError
from thalweg.plots.style import LIGHT, Palette, rc
from thalweg.theory import Chart

_FORMATS = (".png", ".svg", ".pdf")
_DASHES = ("-", "--", "-.", ":")
_MARKERS = ("o", "s", "^", "D", "v")


def charts_figure(charts: Sequence[Chart], palette: Palette = LIGHT) -> Any:
    """Draw charts side by side.

    Args:
        charts: at least one.
        palette: colours.

    Returns:
        A matplotlib figure.

    Raises:
        InputError: if there are no charts.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    if not charts:
        raise InputError("expected charts to draw, got none: this statement has no picture")
    colours = (palette.path, palette.level, palette.bound, palette.other, palette.straight)
    with rc_context(rc(palette)):
        figure = Figure(figsize=(6.4 * len(charts), 4.4), layout="constrained")
        for axes, chart in zip(
            figure.subplots(1, len(charts), squeeze=False)[0], charts, strict=True
        ):
            for i, series in enumerate(chart.series):
                axes.plot(
                    series.x,
                    series.y,
                    label=series.label,
                    color=colours[i % len(colours)],
                    linestyle="none" if series.points else _DASHES[i % len(_DASHES)],
                    marker=_MARKERS[i % len(_MARKERS)] if series.points else None,
                    markersize=4,
                )
            axes.set(title=chart.title, xlabel=chart.x_label, ylabel=chart.y_label)
            if chart.log_x:
                axes.set_xscale("log")
                _plain_ticks(axes.xaxis)
            if chart.log_y:
                axes.set_yscale("log")
                _plain_ticks(axes.yaxis)
            if len(chart.series) > 1:
                axes.legend()
    return figure


def _plain_ticks(axis: Any) -> None:
    """Powers of ten as numbers, since formulas are not typeset; fewer than two decades: more."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    low, high = axis.get_data_interval()
    axis.set_major_locator(LogLocator(subs=(1.0,) if high > 100 * low else (1.0, 2.0, 5.0)))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def save_charts(charts: Sequence[Chart], file: Path) -> None:
    """Draw charts into a file.

    Args:
        charts: at least one.
        file: its suffix says how: .png, .svg or .pdf.

    Raises:
        InputError: if the suffix is another, or there are no charts.
    """
    if file.suffix.lower() not in _FORMATS:
        raise InputError(f"expected a file that ends in {', '.join(_FORMATS)}, got '{file}'")
    from matplotlib import rc_context

    with rc_context(rc()):
        charts_figure(charts).savefig(file, dpi=150)
