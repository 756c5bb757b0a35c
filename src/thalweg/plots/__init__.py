"""Pictures: from a result to a typed record of numbers, and from that to a figure."""

from thalweg.plots.profile import draw_profile, profile_figure, save_profile
from thalweg.plots.profile_info import Curve, ProfileInfo, Step, compute_profile

__all__ = [
    "Curve",
    "ProfileInfo",
    "Step",
    "compute_profile",
    "draw_profile",
    "profile_figure",
    "save_profile",
]
