"""What the profile of a connection shows, in numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass

from thalweg.connect import Connection, Profile
from thalweg.errors import InputError
from thalweg.plots.table import Table


@dataclass(frozen=True)
class Curve:
    """One measure on one split.

    Attributes:
        name: as in ``"loss on train"``.
        path: its value at each point of the path, None where it is not finite.
        straight: the same on the straight line between the endpoints.
        examples: of the split that were looked at.
    """

    name: str
    path: tuple[float | None, ...]
    straight: tuple[float | None, ...]
    examples: int


@dataclass(frozen=True)
class Step:
    """The certified bound of one segment.

    Attributes:
        start: where the segment begins, as a fraction of the path's length.
        end: where it ends.
        bound: upper bound of the criterion on it.
    """

    start: float
    end: float
    bound: float


@dataclass(frozen=True)
class ProfileInfo:
    """All numbers that a profile shows.

    Attributes:
        t: fractions of the path's length at which the curves were evaluated.
        beads: the fractions at which the beads lie, both endpoints included.
        threshold: L0.
        criterion: the curve that is held against the threshold.
        losses: the loss on each split.
        bounds: the certified bounds of the segments that have one.
        certificate: their kind.
        connected: whether the search succeeded.
    """

    t: tuple[float, ...]
    beads: tuple[float, ...]
    threshold: float
    criterion: Curve
    losses: tuple[Curve, ...]
    bounds: tuple[Step, ...]
    certificate: str
    connected: bool


def compute_profile(connection: Connection) -> ProfileInfo:
    """Gather what a profile shows from the record of a connection.

    Args:
        connection: with a profile.

    Returns:
        The numbers; nothing is evaluated here.

    Raises:
        InputError: if the connection was made without a profile.
    """
    profile = connection.profile
    if profile is None:
        raise InputError(
            "expected a connection with a profile, got one without: connect again with "
            "--profile-points 33, or evaluate thalweg.profile"
        )
    name, split = connection.criterion["name"], connection.criterion["split"]
    losses = [key for key in profile.values if key.startswith("loss/")]
    return ProfileInfo(
        t=profile.t,
        beads=profile.beads,
        threshold=connection.threshold,
        criterion=_curve(profile, f"{name}/{split}"),
        losses=tuple(_curve(profile, key) for key in losses),
        bounds=_bounds(connection),
        certificate=connection.certificate,
        connected=connection.connected,
    )


def profile_table(info: ProfileInfo) -> Table:
    """All curves of a profile, one row a point of the path."""
    curves = dict.fromkeys((info.criterion, *info.losses))
    names = [f"{curve.name}{where}" for curve in curves for where in ("", ", straight line")]
    columns = [values for curve in curves for values in (curve.path, curve.straight)]
    beads = [t in set(info.beads) for t in info.t]
    return Table(
        ("fraction of the length", *names, "model"),
        list(zip(info.t, *columns, beads, strict=True)),
    )


def _curve(profile: Profile, key: str) -> Curve:
    measure, _, split = key.rpartition("/")
    return Curve(
        f"{measure.replace('_', ' ')} on {split}",
        profile.values[key], profile.linear[key], profile.examples[split],
    )  # fmt: skip


def _bounds(connection: Connection) -> tuple[Step, ...]:
    total = math.fsum(segment.length for segment in connection.segments)
    steps, done = [], 0.0
    for segment in connection.segments:
        start, done = done, done + segment.length
        if segment.bound is not None and math.isfinite(segment.bound) and total > 0:
            steps.append(Step(start / total, done / total, segment.bound))
    return tuple(steps)
