"""Shapes in parameter space: lines and planes through it, and the criterion on them."""

from thalweg.geometry.surface import Surface, surface

__all__ = ["Surface", "surface"]
