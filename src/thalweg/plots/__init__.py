"""Pictures: from a result to a typed record of numbers, and from that to a figure."""

from thalweg.plots.comparison import comparison_figure, draw_comparison, save_comparison
from thalweg.plots.comparison_info import ComparisonInfo, MethodRow, compute_comparison
from thalweg.plots.profile import draw_profile, profile_figure, save_profile
from thalweg.plots.profile_info import Curve, ProfileInfo, Step, compute_profile

__all__ = [
    "ComparisonInfo",
    "Curve",
    "MethodRow",
    "ProfileInfo",
    "Step",
    "comparison_figure",
    "compute_comparison",
    "compute_profile",
    "draw_comparison",
    "draw_profile",
    "profile_figure",
    "save_comparison",
    "save_profile",
]
