"""Charts of lines and points: what a :class:`thalweg.theory.Chart` says, drawn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from thalweg.errors import InputError
from thalweg.plots.style import LIGHT, Palette, rc
from thalweg.theory import Chart

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
            for axis, log in ((axes.xaxis, chart.log_x), (axes.yaxis, chart.log_y)):
                if log:
                    _make_logarithmic(axis)
            if len(chart.series) > 1:
                axes.legend()
    return figure


def _make_logarithmic(axis: Any) -> None:
    """A logarithmic scale with plain numbers: the style has mathematical text switched off."""
    from matplotlib.ticker import LogFormatter

    getattr(axis.axes, f"set_{axis.axis_name}scale")("log")
    axis.set_major_formatter(LogFormatter())
    axis.set_minor_formatter(LogFormatter(labelOnlyBase=False))


def save_charts(charts: Sequence[Chart], file: Path) -> None:
    """Draw charts into a file.

    Args:
        charts: at least one.
        file: its suffix says how: .png, .svg or .pdf.

    Raises:
        InputError: if the suffix is another, or there are no charts.
    """
    from thalweg.plots.files import write_figure

    write_figure(charts_figure(charts), file)
