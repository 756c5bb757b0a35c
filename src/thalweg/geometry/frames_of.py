"""Planes that belong to something: a connection, a trajectory, the curvature at a model."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from thalweg.connect import Connection
from thalweg.errors import InputError
from thalweg.geometry.directions import random_directions
from thalweg.geometry.eigen import End, eigenpairs
from thalweg.geometry.frame import Frame, plane_through
from thalweg.geometry.pca import pca
from thalweg.geometry.plane import Plane, plane
from thalweg.geometry.products import Curvature
from thalweg.objective import Objective
from thalweg.parameters import Source
from thalweg.paths import Polygonal

# An eigenvector is drawn, not computed with: three digits of its residual will do.
_TOLERANCE = 1e-3


def hessian_frame(
    objective: Objective, origin: Source, count: int = 2, *, end: End = "top", seed: int = 0
) -> Frame:
    """The frame along eigenvectors of the Hessian of the training loss at a model.

    Args:
        objective: whose training loss.
        origin: the model.
        count: how many eigenvectors.
        end: those of the largest or of the least eigenvalues.
        seed: of where the search for them begins.

    Returns:
        The frame; a unit of an axis is a Euclidean distance of one.

    Raises:
        InputError: if the model does not fit, or there are not so many.
    """
    theta = objective.theta(origin, "the origin")
    found = eigenpairs(Curvature(objective, theta), count, end=end, tolerance=_TOLERANCE, seed=seed)
    if len(found.vectors) < count:
        raise InputError(
            f"expected {count} eigenvectors, got {len(found.vectors)}: choose random directions"
        )
    names = tuple(f"eigenvector {i + 1} (eigenvalue {value:.3g})"
                  for i, value in enumerate(found.values.tolist()))  # fmt: skip
    return Frame(theta, found.vectors.to(theta), names)


def trajectory_frame(
    objective: Objective,
    path: Polygonal,
    directions: Literal["pca", "random"] = "pca",
    *,
    seed: int = 0,
) -> Frame:
    """The plane on which to draw a trajectory, through its last point.

    Args:
        objective: whose architecture.
        path: the points of the trajectory.
        directions: ``"pca"``: its principal components (Li et al. 2018, Section 7); ``"random"``:
            filter-normalized random directions, on which a trajectory shows little.
        seed: of random directions.

    Raises:
        InputError: if the trajectory does not fit, or moves along one line only.
    """
    last = objective.theta(path.points[-1], "the trajectory")
    if directions == "pca":
        return pca(path.points, 2).frame(last.double())
    if directions == "random":
        return random_directions(objective, last, seed=seed)
    raise InputError(f"expected directions pca or random, got '{directions}'")


def connection_plane(
    connection: Connection,
    objective: Objective,
    *,
    bead: int | None = None,
    seed: int = 0,
    **options: Any,
) -> Plane:
    """The plane through both endpoints and a bead of a connection, its path drawn on it.

    Args:
        connection: whose path.
        objective: whose criterion.
        bead: its place on the path, from 1; default: the one farthest from the straight line. Of a
            Bézier curve, a control point. A straight path has none: there a random direction,
            filter-normalized at A, takes its place.
        seed: of that direction.
        options: of :func:`plane`.

    Returns:
        The plane.

    Raises:
        InputError: if there is no such bead, or the models do not fit the objective.
    """
    path = connection.path
    start, end = path.points[0], path.points[-1]
    inner = path.points[1:-1]
    models: dict[str, Tensor] = {"A": start, "B": end}
    if bead is not None and not 1 <= bead <= len(inner):
        raise InputError(
            f"expected a bead from 1 to {len(inner)} of this connection, got {bead}"
            if len(inner) else f"expected no --bead, for the path has none, got {bead}"
        )  # fmt: skip
    if len(inner):
        place = bead if bead is not None else _farthest(path.points)
        third = path.points[place]
        what = "bead" if isinstance(path, Polygonal) else "control point"
        models[f"{what} {place}"] = third
    else:
        aside = random_directions(objective, start, 1, seed=seed).directions[0].cpu()
        third = start + aside
    frame = plane_through(objective, start, end, third)
    if not len(inner):
        frame = Frame(frame.origin, frame.directions, (frame.names[0], "across, random direction"))
    name = "string" if isinstance(path, Polygonal) else "Bézier curve"
    return plane(
        objective, frame, models=models, paths={name: path}, threshold=connection.threshold,
        **options,
    )  # fmt: skip


def _farthest(points: Tensor) -> int:
    """Place of the model that is farthest from the line through the ends."""
    start = points[0].double()
    along = points[-1].double() - start
    along = along / along.norm().clamp_min(torch.finfo(torch.float64).tiny)
    far = []
    for row in points[1:-1]:
        offset = row.double() - start
        far.append(float((offset - (offset @ along) * along).norm()))
    return 1 + far.index(max(far))
