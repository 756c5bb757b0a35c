"""Disconnectivity graphs, drawn: a tree of minima beside the number of components."""

from __future__ import annotations

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from thalweg.plots.disconnectivity_info import DisconnectivityInfo
from thalweg.plots.style import LIGHT, Palette, rc

# Ratio of the highest to the lowest level above which levels stand on a logarithmic axis.
_WIDE = 5.0


def disconnectivity_figure(info: DisconnectivityInfo, palette: Palette = LIGHT) -> Figure:
    """Draw the graph, and beside it the components of the level sets.

    Args:
        info: of :func:`thalweg.plots.compute_disconnectivity`.
        palette: colours.

    Returns:
        The figure.
    """
    with rc_context(rc(palette)):
        figure = Figure(figsize=(9.6, 5.0), layout="constrained")
        tree, counts = figure.subplots(1, 2, width_ratios=(3, 1), sharey=True)
        draw_disconnectivity(tree, info, palette)
        _draw_counts(counts, info, palette)
        heights = [y for branch in info.branches for y in branch.y]
        if min(heights) > 0 and max(heights) > _WIDE * min(heights):
            tree.set_yscale("log")  # of both, which share it
            tree.set_ylim(bottom=0.8 * min(heights))  # room for the numbers of minima
            tree.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            tree.yaxis.set_major_formatter("{x:g}")
            tree.yaxis.set_minor_formatter(NullFormatter())
    return figure


def draw_disconnectivity(axes: Axes, info: DisconnectivityInfo, palette: Palette = LIGHT) -> None:
    """Draw the graph on axes.

    Args:
        axes: to draw on.
        info: what to draw.
        palette: colours.
    """
    for branch in info.branches:
        # Along its way up a branch stays upright and turns where it meets the others.
        low, high = branch.y
        turn = high - 0.35 * (high - low)
        axes.plot(
            (branch.x[0], branch.x[0], branch.x[1]), (low, turn, high), color=palette.path,
            linewidth=1.2, solid_joinstyle="round",
        )  # fmt: skip
        if branch.minimum is not None:
            axes.plot(branch.x[0], low, "o", color=palette.path, markersize=3)
            axes.annotate(
                str(branch.minimum), (branch.x[0], low), textcoords="offset points",
                xytext=(0, -11), ha="center", fontsize=8, color=palette.ink,
            )  # fmt: skip
    for count in info.counts:
        axes.axhline(count.level, color=palette.faint, linewidth=0.6, zorder=0)
    symmetry = ", up to symmetry" if info.aligned else ""
    axes.set(
        title=f"{_minima(info)} minima and the levels that join them{symmetry}",
        ylabel=info.criterion, xticks=(), ylim=(None, info.top),
    )  # fmt: skip
    axes.grid(visible=False)


def _draw_counts(axes: Axes, info: DisconnectivityInfo, palette: Palette) -> None:
    levels = [count.level for count in info.counts]
    axes.plot(
        [count.at_most for count in info.counts], levels, "o-", color=palette.path,
        label="at most, by paths",
    )  # fmt: skip
    axes.plot(
        [count.at_least for count in info.counts], levels, "s:", color=palette.bound,
        label="at least, by proofs",
    )  # fmt: skip
    axes.set(title="components", xlim=(0, None))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
    axes.legend(loc="best", fontsize=8)


def _minima(info: DisconnectivityInfo) -> int:
    return sum(branch.minimum is not None for branch in info.branches)
