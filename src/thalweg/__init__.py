"""Thalweg finds, measures and draws the low-loss valleys that connect trained neural networks.

It implements Dynamic String Sampling (Freeman & Bruna, *Topology and Geometry of Half-Rectified
Network Optimization*, ICLR 2017) and the field around it.
"""

from thalweg.certify import Certificate, bound_segment
from thalweg.connect import (
    BezierCurve,
    Budget,
    Connection,
    Greedy,
    Linear,
    Outcome,
    PolygonalChain,
    Progress,
    compare,
    connect,
    connect_pairs,
    load_connection,
    profile,
    register_method,
    train,
    verify,
)
from thalweg.errors import InputError, ThalwegError
from thalweg.geometry import (
    PCA,
    Frame,
    Plane,
    Surface,
    Trajectory,
    line_through,
    load_plane,
    load_trajectory,
    pca,
    plane,
    plane_through,
    random_directions,
    surface,
)
from thalweg.objective import Calibration, Criterion, Objective, Training
from thalweg.parameters import Layout, load_checkpoint, save_checkpoint
from thalweg.paths import Bezier, Polygonal, load_path, save_path
from thalweg.symmetry import Alignment, align, repair

__all__ = [
    "PCA",
    "Alignment",
    "Bezier",
    "BezierCurve",
    "Budget",
    "Calibration",
    "Certificate",
    "Connection",
    "Criterion",
    "Frame",
    "Greedy",
    "InputError",
    "Layout",
    "Linear",
    "Objective",
    "Outcome",
    "Plane",
    "Polygonal",
    "PolygonalChain",
    "Progress",
    "Surface",
    "ThalwegError",
    "Training",
    "Trajectory",
    "align",
    "bound_segment",
    "compare",
    "connect",
    "connect_pairs",
    "line_through",
    "load_checkpoint",
    "load_connection",
    "load_path",
    "load_plane",
    "load_trajectory",
    "pca",
    "plane",
    "plane_through",
    "profile",
    "random_directions",
    "register_method",
    "repair",
    "save_checkpoint",
    "save_path",
    "surface",
    "train",
    "verify",
]
