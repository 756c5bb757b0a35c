"""Figures as files: the same figure, the same bytes, written completely or not at all."""

from __future__ import annotations

import io
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from thalweg.errors import InputError
from thalweg.parameters import replacing
from thalweg.plots.style import rc

_FORMATS = (".png", ".svg", ".pdf")


def write_figure(figure: Figure, file: str | Path) -> None:
    """Write a figure, completely or not at all.

    Args:
        figure: to write.
        file: ``.png``, ``.svg`` or ``.pdf``.

    Raises:
        InputError: if the name ends otherwise, or the file cannot be written.
    """
    file = Path(file)
    if file.suffix not in _FORMATS:
        raise InputError(
            f"expected a picture named {', '.join(_FORMATS)}, got {file.name}: rename it"
        )
    content = render(figure, file.suffix[1:])
    with replacing(file) as temporary:
        temporary.write_bytes(content)


def render(figure: Figure, kind: str) -> bytes:
    """A figure as the bytes of a file, the same for the same figure.

    Args:
        figure: to render.
        kind: ``"png"``, ``"svg"`` or ``"pdf"``.
    """
    buffer = io.BytesIO()
    undated = {
        "svg": dict.fromkeys(("Creator", "Date", "Format", "Type")),
        "pdf": {"CreationDate": None},
    }.get(kind)
    with mpl.rc_context(rc()):
        figure.savefig(buffer, format=kind, dpi=150, metadata=undated,
                       facecolor=figure.get_facecolor())  # fmt: skip
    return buffer.getvalue()
