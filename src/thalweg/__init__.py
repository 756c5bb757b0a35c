"""Thalweg finds, measures and draws the low-loss valleys that connect trained neural networks.

It implements Dynamic String Sampling (Freeman & Bruna, *Topology and Geometry of Half-Rectified
Network Optimization*, ICLR 2017) and the field around it.
"""

from thalweg.certify import Certificate, bound_segment
from thalweg.connect import (
    Budget,
    Connection,
    Greedy,
    Outcome,
    Progress,
    connect,
    connect_pairs,
    load_connection,
    profile,
    train,
    verify,
)
from thalweg.errors import InputError, ThalwegError
from thalweg.geometry import Curvature, Spectrum, Surface, spectrum, surface
from thalweg.objective import Calibration, Criterion, Objective, Training
from thalweg.parameters import Layout, load_checkpoint, save_checkpoint
from thalweg.paths import Bezier, Polygonal, load_path, save_path
from thalweg.symmetry import Alignment, align, repair

__all__ = [
    "Alignment",
    "Bezier",
    "Budget",
    "Calibration",
    "Certificate",
    "Connection",
    "Criterion",
    "Curvature",
    "Greedy",
    "InputError",
    "Layout",
    "Objective",
    "Outcome",
    "Polygonal",
    "Progress",
    "Spectrum",
    "Surface",
    "ThalwegError",
    "Training",
    "align",
    "bound_segment",
    "connect",
    "connect_pairs",
    "load_checkpoint",
    "load_connection",
    "load_path",
    "profile",
    "repair",
    "save_checkpoint",
    "save_path",
    "spectrum",
    "surface",
    "train",
    "verify",
]
