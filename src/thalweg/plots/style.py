"""Colours and fonts of all pictures."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True)
class Palette:
    """Colours, each used for one thing only.

    The hues are those of Okabe and Ito's palette, which people with any kind of colour vision tell
    apart; lines differ in dash and marker, too. No two are equal, so that a page can replace them.

    Attributes:
        ink: text and axes.
        faint: grid.
        paper: background.
        path: the path.
        straight: the straight line for comparison.
        level: the threshold.
        bound: certified bounds.
        other: a second split.
    """

    ink: str = "#262626"
    faint: str = "#d9d9d9"
    paper: str = "#ffffff"
    path: str = "#0072b2"
    straight: str = "#767676"
    level: str = "#d55e00"
    bound: str = "#009e73"
    other: str = "#cc79a7"

    def items(self) -> list[tuple[str, str]]:
        """Names and colours."""
        return [(field.name, getattr(self, field.name)) for field in fields(self)]


LIGHT = Palette()
DARK = Palette(
    ink="#e6e6e6", faint="#404040", paper="#1b1c1e", path="#4db2f0", straight="#a3a3a3",
    level="#ff8a3d", bound="#3ecf9f", other="#e3a1c6",
)  # fmt: skip


def rc(palette: Palette = LIGHT) -> Any:
    """Settings of matplotlib to draw with.

    Args:
        palette: colours.

    Returns:
        A dictionary; its keys have a type of their own in newer versions of matplotlib only.
    """
    return {
        "axes.edgecolor": palette.ink,
        "axes.facecolor": palette.paper,
        "axes.grid": True,
        "axes.labelcolor": palette.ink,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlecolor": palette.ink,
        "axes.unicode_minus": False,
        "figure.facecolor": palette.paper,
        "font.family": "DejaVu Sans",
        "font.size": 12,
        "grid.color": palette.faint,
        "grid.linewidth": 0.6,
        "legend.fontsize": 10.5,
        "legend.frameon": False,
        "lines.linewidth": 1.6,
        "savefig.facecolor": palette.paper,
        "svg.fonttype": "none",  # text stays text: small, searchable, read aloud
        "svg.hashsalt": "thalweg",  # the same picture, the same file
        "text.color": palette.ink,
        "text.parse_math": False,  # names may hold dollar signs
        "xtick.color": palette.ink,
        "ytick.color": palette.ink,
    }
