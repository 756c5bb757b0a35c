"""Figures as files: the same figure, the same bytes, written completely or not at all."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from thalweg.errors import InputError
from thalweg.parameters import replacing
from thalweg.plots.style import rc

FORMATS = (".png", ".svg", ".pdf")
"""What a figure can be saved as."""


def check_format(file: str | Path, formats: Sequence[str] = FORMATS) -> Path:
    """Refuse a name whose ending says no format that can be written.

    Args:
        file: name of a picture.
        formats: endings to choose from.

    Returns:
        The name.

    Raises:
        InputError: if it ends otherwise.
    """
    file = Path(file)
    if file.suffix.lower() not in formats:
        raise InputError(
            f"expected a picture named {', '.join(formats)}, got {file.name}: rename it"
        )
    return file


def write_figure(figure: Figure, file: str | Path) -> None:
    """Write a figure, completely or not at all.

    Args:
        figure: to write.
        file: ``.png``, ``.svg`` or ``.pdf``.

    Raises:
        InputError: if the name ends otherwise, or the file cannot be written.
    """
    file = check_format(file)
    content = render(figure, file.suffix[1:].lower())
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
