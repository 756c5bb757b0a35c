"""Re-check a connection from its files: other points, float64, nothing taken on trust."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from thalweg.connect.connection import Connection
from thalweg.errors import InputError
from thalweg.objective import Objective
from thalweg.parameters import fingerprint
from thalweg.paths import Polygonal, interpolate


@dataclass(frozen=True)
class Verification:
    """What a second look at a connection found.

    Attributes:
        passed: whether every check held.
        problems: one sentence for each that did not.
        max_criterion_seen: largest value found, in float64.
        points: how many points of the path were evaluated.
        threshold: L0.
    """

    passed: bool
    problems: tuple[str, ...]
    max_criterion_seen: float
    points: int
    threshold: float


def verify(
    connection: Connection,
    objective: Objective,
    *,
    points: int = 17,
    progress: Callable[[int, int], None] | None = None,
) -> Verification:
    """Evaluate a connection's path anew, in float64, on points of its own.

    The record must agree with the path (endpoints, beads, lengths, bounds at or below the
    threshold); every vertex and `points` points inside every segment, one at random in each of
    as many equal parts, must be at or below the threshold.

    Args:
        connection: as loaded from its folder.
        objective: built anew from the task or factory that the record names.
        points: inside each segment.
        progress: called with (points done, points in all).

    Returns:
        The verification.

    Raises:
        InputError: if the objective is not that of the connection, or `points` is not positive.
    """
    if points < 1:
        raise InputError(f"expected at least one point a segment to verify, got {points}")
    _check_objective(connection, objective)
    problems = _contradictions(connection)
    twin = objective.double()
    path = connection.path
    total = (len(path.points) - 1) * points + len(path.points)
    highest, where, done = -math.inf, "", 0
    bad = 0
    random = np.random.default_rng(_seed(connection))
    for i in range(len(path.points) - 1):
        inside = (np.arange(points) + random.uniform(size=points)) / points
        t = np.concatenate([[0.0], inside, [1.0] if i == len(path.points) - 2 else []])
        for part in np.array_split(t, math.ceil(len(t) / 8)):
            start, end = (path.points[j].to(twin.device, torch.float64) for j in (i, i + 1))
            values = twin.criterion_of(interpolate(start, end, torch.from_numpy(part))).values
            for s, value in zip(part, values[:, 0].tolist(), strict=True):
                bad += not value <= connection.threshold
                if not value <= highest:
                    highest, where = value, f"at {s:.4f} of segment {i + 1}"
            done += len(part)
            if progress:
                progress(done, total)
    if bad:
        problems.append(
            f"the criterion is {highest:.6g} {where}, above the threshold "
            f"{connection.threshold:g} ({bad} of {total} points are above it)"
        )
    return Verification(not problems, tuple(problems), highest, total, connection.threshold)


def _check_objective(connection: Connection, objective: Objective) -> None:
    layout, own = connection.path.layout, objective.layout
    if (layout.names, layout.shapes) != (own.names, own.shapes):
        raise InputError(
            f"expected the model whose parameters the path holds ({layout.size} in "
            f"{len(layout.names)} tensors), got another architecture ({own.size} in "
            f"{len(own.names)}): verify with the task or factory it was made with"
        )
    criterion = {"name": objective.criterion.name, "split": objective.criterion.split}
    if criterion != dict(connection.criterion):
        raise InputError(
            f"expected the criterion {dict(connection.criterion)} of the connection, got "
            f"{criterion}: verify with the task or factory it was made with"
        )
    recorded = connection.settings.get("data")
    if recorded is not None and recorded != objective.fingerprints():
        raise InputError(
            "expected the data that the connection was made with, got data with another SHA-256: "
            "verify with the same data files"
        )


def _contradictions(connection: Connection) -> list[str]:
    """Where record and path disagree."""
    problems = []
    path, segments = connection.path, connection.segments
    if not connection.connected:
        problems.append(f"the search did not connect the endpoints: {connection.message}")
    if not isinstance(path, Polygonal):
        problems.append(f"a path of kind '{path.kind}' has no segments to verify")
        return problems
    if not torch.isfinite(path.points).all():
        problems.append("the path holds NaN or inf")
    for name, end, theta in zip("AB", connection.endpoints, path.points[[0, -1]], strict=True):
        if fingerprint(theta) != end.sha256:
            problems.append(f"endpoint {name} of the path is not the recorded one (SHA-256)")
    lengths = path.segment_lengths
    if len(segments) != len(lengths):
        problems.append(f"{len(segments)} segments are recorded, the path has {len(lengths)}")
        return problems
    for i, (segment, length) in enumerate(zip(segments, lengths, strict=True), 1):
        if not math.isclose(segment.length, length, rel_tol=1e-9):
            problems.append(f"segment {i} is {length:.9g} long, {segment.length:.9g} is recorded")
        if connection.connected and (segment.bound is None or segment.bound > connection.threshold):
            problems.append(f"segment {i} is recorded without a bound at or below the threshold")
    return problems


def _seed(connection: Connection) -> int:
    """Points that depend on the path, and that nobody chose."""
    text = "".join(end.sha256 for end in connection.endpoints) + str(len(connection.segments))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
