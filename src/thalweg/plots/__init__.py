"""Pictures: from a result to a typed record of numbers, and from that to a figure."""

from thalweg.plots.figure import FORMATS, check_format, render, save_figure
from thalweg.plots.plane import (
    STYLES,
    Style,
    draw_plane,
    plane_figure,
    plane_positions,
    plane_table,
)
from thalweg.plots.profile import draw_profile, profile_figure, save_profile
from thalweg.plots.profile_info import Curve, ProfileInfo, Step, compute_profile, profile_table
from thalweg.plots.string import MOVIES, animate_string, draw_string, string_figure
from thalweg.plots.string_info import Stretch, StringInfo, compute_string, string_table
from thalweg.plots.table import Table, save_table

__all__ = [
    "FORMATS",
    "MOVIES",
    "STYLES",
    "Curve",
    "ProfileInfo",
    "Step",
    "Stretch",
    "StringInfo",
    "Style",
    "Table",
    "animate_string",
    "check_format",
    "compute_profile",
    "compute_string",
    "draw_plane",
    "draw_profile",
    "draw_string",
    "plane_figure",
    "plane_positions",
    "plane_table",
    "profile_figure",
    "profile_table",
    "render",
    "save_figure",
    "save_profile",
    "save_table",
    "string_figure",
    "string_table",
]
