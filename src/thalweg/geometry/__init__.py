"""Shapes in parameter space: lines and planes through it, and the criterion on them."""

from thalweg.geometry.directions import NORMALIZATIONS, Normalization, random_directions
from thalweg.geometry.frame import Frame, line_through, plane_through
from thalweg.geometry.pca import PCA, pca
from thalweg.geometry.plane import Line, Mark, Plane, load_plane, plane
from thalweg.geometry.surface import Surface, surface
from thalweg.geometry.trajectory import Trajectory, lightning_callback, load_trajectory

__all__ = [
    "NORMALIZATIONS",
    "PCA",
    "Frame",
    "Line",
    "Mark",
    "Normalization",
    "Plane",
    "Surface",
    "Trajectory",
    "lightning_callback",
    "line_through",
    "load_plane",
    "load_trajectory",
    "pca",
    "plane",
    "plane_through",
    "random_directions",
    "surface",
]
