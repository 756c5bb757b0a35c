"""Thalweg finds, measures and draws the low-loss valleys that connect trained neural networks.

It implements Dynamic String Sampling (Freeman & Bruna, *Topology and Geometry of Half-Rectified
Network Optimization*, ICLR 2017) and the field around it.
"""

from thalweg.certify import Certificate, bound_segment
from thalweg.connect import (
    AutoNEB,
    BezierCurve,
    BreadthFirst,
    Budget,
    Connection,
    Constrained,
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
    tighten,
    train,
    verify,
)
from thalweg.errors import InputError, ThalwegError
from thalweg.geometry import Surface, surface
from thalweg.objective import Calibration, Criterion, Objective, Training
from thalweg.parameters import Layout, load_checkpoint, save_checkpoint
from thalweg.paths import Bezier, Polygonal, load_path, save_path

__all__ = [
    "AutoNEB",
    "Bezier",
    "BezierCurve",
    "BreadthFirst",
    "Budget",
    "Calibration",
    "Certificate",
    "Connection",
    "Constrained",
    "Criterion",
    "Greedy",
    "InputError",
    "Layout",
    "Linear",
    "Objective",
    "Outcome",
    "Polygonal",
    "PolygonalChain",
    "Progress",
    "Surface",
    "ThalwegError",
    "Training",
    "bound_segment",
    "compare",
    "connect",
    "connect_pairs",
    "load_checkpoint",
    "load_connection",
    "load_path",
    "profile",
    "register_method",
    "save_checkpoint",
    "save_path",
    "surface",
    "tighten",
    "train",
    "verify",
]
