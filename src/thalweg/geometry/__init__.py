"""Shapes in parameter space: lines and planes through it, curvature, saddles, sharpness."""

from thalweg.geometry.density import Density, density
from thalweg.geometry.edge_of_stability import Descent, SharpnessTracker, edge_of_stability
from thalweg.geometry.eigen import Eigenpairs, eigenpairs
from thalweg.geometry.products import Curvature
from thalweg.geometry.saddles import CriticalPoint, Kind, classify, climb
from thalweg.geometry.sharpness import Sharpness, WorstCase, sharpness, worst_case
from thalweg.geometry.spectrum import PointCurvature, Spectrum, curvature_along, spectrum
from thalweg.geometry.surface import Surface, surface
from thalweg.geometry.trace import Trace, hutch_pp, trace

__all__ = [
    "CriticalPoint",
    "Curvature",
    "Density",
    "Descent",
    "Eigenpairs",
    "Kind",
    "PointCurvature",
    "Sharpness",
    "SharpnessTracker",
    "Spectrum",
    "Surface",
    "Trace",
    "WorstCase",
    "classify",
    "climb",
    "curvature_along",
    "density",
    "edge_of_stability",
    "eigenpairs",
    "hutch_pp",
    "sharpness",
    "spectrum",
    "surface",
    "trace",
    "worst_case",
]
