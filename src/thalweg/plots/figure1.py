"""Figure 1 of Freeman & Bruna 2017: normalized length and number of beads against the level."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogLocator, MaxNLocator, NullFormatter, NullLocator

from thalweg.errors import InputError
from thalweg.parameters import replacing
from thalweg.plots.figure1_info import Figure1Info, Point, PowerLaw, Series
from thalweg.plots.files import render
from thalweg.plots.style import LIGHT, Palette, rc
from thalweg.study.summary import Mean

_FORMATS = (".png", ".svg", ".pdf")
_MARKERS = ("o", "s", "^", "D", "v")
_LINES = ("-", "--", "-.", ":", (0, (1, 1)))
# Largest over least, below which a log axis may have no tick at 1, 2, 5, 10, ...
_NARROW = 6.0
# Thresholds that are ticks themselves.
_FEW = 4


def figure1(info: Figure1Info, palette: Palette = LIGHT) -> Figure:
    """Draw the figure: one row a task, lengths on the left, beads on the right, all axes log.

    Bars are standard errors of the means; crosses with "17/20" say that so many of the pairs
    connected, where not all did. A mean of no beads cannot stand on a log axis: it is drawn at its
    foot, hollow.

    Args:
        info: what to draw.
        palette: colours.

    Returns:
        The figure, bound to no window.
    """
    tasks = list(dict.fromkeys(series.task for series in info.series))
    with mpl.rc_context(rc(palette)):
        figure = Figure(figsize=(10.5, 4.2 * len(tasks)), layout="constrained")
        FigureCanvasAgg(figure)
        grid = figure.subplots(len(tasks), 2, squeeze=False)
        for task, (left, right) in zip(tasks, grid, strict=True):
            own = [series for series in info.series if series.task == task]
            _draw(left, own, "length", palette)
            _draw(right, own, "beads", palette)
            left.set_title(task, loc="left")
            left.set_ylabel("normalized length")
            right.set_ylabel("beads")
    return figure


def save_figure1(info: Figure1Info, file: str | Path) -> None:
    """Write the picture, completely or not at all.

    Args:
        info: what to draw.
        file: ``.png``, ``.svg`` or ``.pdf``.

    Raises:
        InputError: if the file is named otherwise or cannot be written.
    """
    file = Path(file)
    if file.suffix not in _FORMATS:
        raise InputError(
            f"expected a picture named {', '.join(_FORMATS)}, got {file.name}: rename it"
        )
    content = render(figure1(info), file.suffix[1:])
    with replacing(file) as temporary:
        temporary.write_bytes(content)


def _draw(axes: Axes, own: Sequence[Series], what: str, palette: Palette) -> None:
    colours = (palette.path, palette.level, palette.bound, palette.other, palette.straight)
    axes.set_xscale("log")
    axes.set_yscale("log")
    values = [mean.value for s in own for p in s.points if (mean := _mean(p, what)) is not None]
    positive = [value for value in values if value > 0]
    foot = 0.7 * min(positive, default=1.0)
    for i, series in enumerate(own):
        colour, marker = colours[i % len(colours)], _MARKERS[i % len(_MARKERS)]
        fit = series.length_fit if what == "length" else series.beads_fit
        shown = [(p.threshold, mean) for p in series.points if (mean := _mean(p, what))]
        high = [(x, mean) for x, mean in shown if mean.value > 0]
        axes.errorbar(
            [x for x, _ in high], [mean.value for _, mean in high],
            yerr=_bars([mean for _, mean in high]), color=colour, marker=marker,
            linestyle="none", capsize=3, label=f"{series.label}{_law(fit)}",
        )  # fmt: skip
        none = [x for x, mean in shown if mean.value == 0]
        axes.plot(none, [foot] * len(none), color=colour, marker=marker, fillstyle="none",
                  linestyle="none")  # fmt: skip
        if fit is not None and high:
            ends = np.array([min(x for x, _ in high), max(x for x, _ in high)])
            axes.plot(ends, fit.factor * ends**fit.exponent, color=colour,
                      linestyle=_LINES[i % len(_LINES)], linewidth=1.0)  # fmt: skip
        for point in series.points:
            if point.connected < point.pairs:
                mean = _mean(point, what)
                height = foot if mean is None or mean.value <= 0 else mean.value
                axes.plot(point.threshold, height, marker="x", markersize=10, color=colour)
                axes.annotate(f"{point.connected}/{point.pairs}", (point.threshold, height),
                              textcoords="offset points", xytext=(7, 6 - 12 * i), fontsize=8,
                              color=palette.ink)  # fmt: skip
    axes.set_xlabel("threshold L0")
    _frame(axes, own, what, foot)
    axes.legend(fontsize=8.5)


def _bars(means: Sequence[Mean]) -> np.ndarray:
    """Standard errors `[2, n]`, below and above; a bar that reaches zero ends just above it."""
    errors = np.array([mean.error or 0.0 for mean in means])
    return np.array([np.minimum(errors, [0.99 * mean.value for mean in means]), errors])


def _frame(axes: Axes, own: Sequence[Series], what: str, foot: float) -> None:
    """Limits around the means, and ticks."""
    levels = sorted({p.threshold for series in own for p in series.points})
    _ticks(axes.xaxis, levels[-1] / levels[0])
    if len(levels) <= _FEW:
        axes.xaxis.set_major_locator(FixedLocator(levels))
    points = [(p, _mean(p, what)) for series in own for p in series.points]
    heights = [
        height
        for _, mean in points
        if mean is not None and mean.value > 0
        for height in (
            max(mean.value - (mean.error or 0.0), foot),
            mean.value + (mean.error or 0.0),
        )
    ]
    if not heights:  # nothing but what failed: there is no height to read
        axes.yaxis.set_major_locator(NullLocator())
        axes.yaxis.set_minor_locator(NullLocator())
        return
    if any(mean is None or mean.value <= 0 for _, mean in points):
        heights.append(foot)
    low, high = min(heights), max(heights)
    margin = (high / low) ** 0.1 if high > low * (1 + 1e-9) else 1.25
    axes.set_ylim(low / margin, high * margin)
    _ticks(axes.yaxis, high / low * margin**2)


def _ticks(axis: Axis, ratio: float) -> None:
    """Ticks of a logarithmic axis, one of whose ends is `ratio` times the other."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    if 1 < ratio < _NARROW:
        axis.set_major_locator(MaxNLocator(5))
        axis.set_minor_locator(NullLocator())
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def _mean(point: Point, what: str) -> Mean | None:
    return point.length if what == "length" else point.beads


def _law(fit: PowerLaw | None) -> str:
    return "" if fit is None else f": L0^({fit.exponent:.2f} ± {fit.exponent_error:.2f})"
