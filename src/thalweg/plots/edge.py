"""The picture of the edge of stability: sharpness against 2/η while networks are trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from thalweg.errors import InputError
from thalweg.geometry import Descent
from thalweg.parameters import replacing
from thalweg.plots.style import LIGHT, Palette, rc

_FORMATS = (".png", ".svg", ".pdf")
_DASHES = (0, (4, 2))


def edge_figure(descents: Sequence[Descent], palette: Palette = LIGHT) -> Any:
    """Draw the sharpness and the loss of full-batch descents, one colour a learning rate.

    Args:
        descents: of :func:`thalweg.geometry.edge_of_stability`.
        palette: colours.

    Returns:
        A matplotlib figure, bound to no window.

    Raises:
        InputError: if there are none.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter

    if not descents:
        raise InputError("expected descents to draw, got none")
    colours = (palette.path, palette.level, palette.bound, palette.other, palette.straight)
    with rc_context(rc(palette)):
        figure = Figure(figsize=(6.6, 6.4), layout="constrained")
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
        loss.yaxis.set_major_formatter("{x:g}")  # 10^-1 would be read as text
        loss.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        loss.yaxis.set_major_formatter("{x:g}")
        loss.yaxis.set_minor_formatter(NullFormatter())
        loss.set_ylabel("training loss, log scale")
        loss.set_xlabel("steps of full-batch gradient descent")
    return figure


def save_edge(descents: Sequence[Descent], file: Path) -> None:
    """Write the picture, completely or not at all.

    Args:
        descents: what to draw.
        file: ``.png``, ``.svg`` or ``.pdf``.

    Raises:
        InputError: if the file cannot be written.
    """
    check_picture(file)
    # Imported here: matplotlib takes a second, which nobody else should wait for.
    from thalweg.plots.profile import render

    content = render(edge_figure(descents), file.suffix[1:])
    with replacing(file) as temporary:
        temporary.write_bytes(content)


def check_picture(file: Path) -> None:
    """Refuse a name that is no picture's.

    Raises:
        InputError: if its suffix is of no known kind.
    """
    if file.suffix not in _FORMATS:
        raise InputError(
            f"expected a picture named {', '.join(_FORMATS)}, got {file.name}: rename it"
        )
