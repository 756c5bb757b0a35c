"""Shapes in parameter space: lines, planes, curvature, saddles, plateaus, basins, valleys."""

from thalweg.geometry.basins import Basin, basin
from thalweg.geometry.density import Density, density
from thalweg.geometry.directions import NORMALIZATIONS, Normalization, random_directions
from thalweg.geometry.edge_of_stability import Descent, SharpnessTracker, edge_of_stability
from thalweg.geometry.eigen import Eigenpairs, eigenpairs
from thalweg.geometry.frame import Frame, line_through, plane_through
from thalweg.geometry.frames_of import connection_plane, hessian_frame, trajectory_frame
from thalweg.geometry.pca import PCA, pca
from thalweg.geometry.plane import Line, Mark, Plane, load_plane, plane
from thalweg.geometry.plateaus import Plateau, plateaus
from thalweg.geometry.products import Curvature
from thalweg.geometry.saddles import CriticalPoint, Kind, classify, climb
from thalweg.geometry.sharpness import Sharpness, WorstCase, sharpness, worst_case
from thalweg.geometry.spectrum import PointCurvature, Spectrum, curvature_along, spectrum
from thalweg.geometry.surface import Surface, surface
from thalweg.geometry.trace import Trace, hutch_pp, trace
from thalweg.geometry.trajectory import Trajectory, lightning_callback, load_trajectory
from thalweg.geometry.valleys import CrossSection, Valley, valley

__all__ = [
    "NORMALIZATIONS",
    "PCA",
    "Basin",
    "CriticalPoint",
    "CrossSection",
    "Curvature",
    "Density",
    "Descent",
    "Eigenpairs",
    "Frame",
    "Kind",
    "Line",
    "Mark",
    "Normalization",
    "Plane",
    "Plateau",
    "PointCurvature",
    "Sharpness",
    "SharpnessTracker",
    "Spectrum",
    "Surface",
    "Trace",
    "Trajectory",
    "Valley",
    "WorstCase",
    "basin",
    "classify",
    "climb",
    "connection_plane",
    "curvature_along",
    "density",
    "edge_of_stability",
    "eigenpairs",
    "hessian_frame",
    "hutch_pp",
    "lightning_callback",
    "line_through",
    "load_plane",
    "load_trajectory",
    "pca",
    "plane",
    "plane_through",
    "plateaus",
    "random_directions",
    "sharpness",
    "spectrum",
    "surface",
    "trace",
    "trajectory_frame",
    "valley",
    "worst_case",
]
