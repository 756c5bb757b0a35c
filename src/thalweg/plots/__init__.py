"""Pictures: from a result to a typed record of numbers, and from that to a figure."""

from thalweg.plots.comparison import comparison_figure, draw_comparison, save_comparison
from thalweg.plots.comparison_info import ComparisonInfo, MethodRow, compute_comparison
from thalweg.plots.files import FORMATS, check_format, render, write_figure
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
    "ComparisonInfo",
    "Curve",
    "MethodRow",
    "ProfileInfo",
    "Step",
    "Stretch",
    "StringInfo",
    "Style",
    "Table",
    "animate_string",
    "check_format",
    "comparison_figure",
    "compute_comparison",
    "compute_profile",
    "compute_string",
    "draw_comparison",
    "draw_plane",
    "draw_profile",
    "draw_string",
    "plane_figure",
    "plane_positions",
    "plane_table",
    "profile_figure",
    "profile_table",
    "render",
    "save_comparison",
    "save_profile",
    "save_table",
    "string_figure",
    "string_table",
    "write_figure",
]
