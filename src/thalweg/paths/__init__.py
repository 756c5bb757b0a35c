"""Paths between two models: strings and Bézier curves, their lengths and their files."""

from thalweg.paths.path import (
    Bezier,
    Path,
    Polygonal,
    bernstein,
    bezier,
    distance,
    interpolate,
)
from thalweg.paths.storage import load_path, save_path

__all__ = [
    "Bezier",
    "Path",
    "Polygonal",
    "bernstein",
    "bezier",
    "distance",
    "interpolate",
    "load_path",
    "save_path",
]
