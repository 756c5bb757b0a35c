"""The picture of the edge of stability: sharpness against 2/η while networks are trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from thalweg.errors import InputError
from thalweg.geometry import Descent
from thalweg.plots.figure import new_figure
from thalweg.plots.files import write_figure
from thalweg.plots.style import LIGHT, Palette, rc

_DASHES = (0, (4, 2))


def edge_figure(descents: Sequence[Descent], palette: Palette = LIGHT) -> Figure:
    """Draw the sharpness and the loss of full-batch descents, one colour a learning rate.

    Args:
        descents: of :func:`thalweg.geometry.edge_of_stability`.
        palette: colours.

    Returns:
        The figure, bound to no window.

    Raises:
        InputError: if there are none.
    """
    if not descents:
        raise InputError("expected descents to draw, got none")
    colours = (palette.path, palette.level, palette.bound, palette.other, palette.straight)
    figure = new_figure(6.6, 6.4, palette)
    with mpl.rc_context(rc(palette)):
        sharp, loss = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
        for i, descent in enumerate(descents):
            colour = colours[i % len(colours)]
            label = f"η = {descent.learning_rate:g}"
            sharp.plot(descent.steps, descent.sharpness, color=colour, label=label)
            sharp.axhline(descent.threshold, color=colour, linestyle=_DASHES, linewidth=1.0)
            loss.plot(range(len(descent.losses)), descent.losses, color=colour, linewidth=1.0)
        sharp.plot([], [], color=palette.straight, linestyle=_DASHES, label="2/η")
        sharp.set_ylabel("largest eigenvalue")
        sharp.set_ylim(bottom=0)
        sharp.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4)
        loss.set_yscale("log")
        loss.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        loss.yaxis.set_major_formatter("{x:g}")
        loss.yaxis.set_minor_formatter(NullFormatter())
        loss.set_ylabel("training loss, log scale")
        loss.set_xlabel("steps of full-batch gradient descent")
    return figure


def save_edge(descents: Sequence[Descent], file: str | Path) -> None:
    """Write the picture, completely or not at all.

    Args:
        descents: what to draw.
        file: ``.png``, ``.svg`` or ``.pdf``.

    Raises:
        InputError: if the file cannot be written.
    """
    write_figure(edge_figure(descents), file)
