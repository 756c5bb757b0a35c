"""A string in the space of its principal components, through the steps of the algorithm.

Freeman & Bruna 2017, Appendix D, Figures 3 and 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from thalweg.connect import Connection, Profile, replaced_segments
from thalweg.errors import InputError
from thalweg.geometry import pca
from thalweg.paths import Polygonal
from thalweg.plots.table import Table

_AXES = 3

Point = tuple[float, float, float]


@dataclass(frozen=True)
class Stretch:
    """A piece of the string, from one model to the next, for as long as it was there.

    Attributes:
        left: place of its first model on the finished string.
        right: place of its last.
        born: step at which it came to be; step 0 is the direct segment.
        ended: step at which two others replaced it; None where it is part of the finished string.
        points: coordinates along it, ends included.
        values: the criterion at these points, None where it is not finite.
    """

    left: int
    right: int
    born: int
    ended: int | None
    points: tuple[Point, ...]
    values: tuple[float | None, ...]


@dataclass(frozen=True)
class StringInfo:
    """All numbers that pictures of a string show.

    Attributes:
        models: coordinates of its models, endpoints included, in order.
        models_born: step at which each was there; 0 for the endpoints.
        explained: fraction of the string's variance along each of the axes; 0 where the models
            spread in fewer directions than three.
        stretches: all that ever were, the oldest first.
        steps: of the algorithm; at step `s`, `s` beads had been put in.
        criterion: as in ``"loss on train"``.
        threshold: L0, the blue end of the colours.
        high: the largest finite value, their red end.
        connected: whether the search succeeded.
    """

    models: tuple[Point, ...]
    models_born: tuple[int, ...]
    explained: tuple[float, float, float]
    stretches: tuple[Stretch, ...]
    steps: int
    criterion: str
    threshold: float
    high: float
    connected: bool

    def at(self, step: int) -> list[Stretch]:
        """The string at a step, from A to B."""
        there = [
            s for s in self.stretches if s.born <= step and (s.ended is None or step < s.ended)
        ]
        return sorted(there, key=lambda stretch: stretch.left)


def compute_string(connection: Connection) -> StringInfo:
    """Project a connection's string onto the principal components of its models.

    The components are those of the finished string, at all steps. A Bézier curve is projected onto
    those of its points.

    Args:
        connection: with a profile.

    Returns:
        The numbers; nothing is evaluated here.

    Raises:
        InputError: if the connection has no profile, or its endpoints are equal.
    """
    profile = connection.profile
    if profile is None:
        raise InputError(
            "expected a connection with a profile, got one without: connect again with "
            "--profile-points 33, or evaluate thalweg.profile"
        )
    path, t = connection.path, np.array(profile.t)
    name, split = connection.criterion["name"], connection.criterion["split"]
    values = profile.values[f"{name}/{split}"]
    if isinstance(path, Polygonal):
        found = pca(path.points, _AXES)
        models = _padded(found.coordinates(path.points))
        along = np.stack([np.interp(t, profile.beads, models[:, i]) for i in range(_AXES)], axis=1)
    else:
        curve = path.at(torch.from_numpy(t))
        found = pca(curve, _AXES)
        along = _padded(found.coordinates(curve))
        models = along[[0, -1]]
    history = connection.history if len(connection.history) == len(models) - 2 else ()
    steps = {place: step for step, place in enumerate(history, 1)}
    born = tuple(steps.get(place, 0) for place in range(len(models)))
    stretches = [
        *_replaced(history, profile, models),
        *_finished(born, profile, t, along, values),
    ]
    known = [value for stretch in stretches for value in stretch.values if value is not None]
    return StringInfo(
        models=tuple(map(_point, models)),
        models_born=born,
        explained=tuple([*found.explained, 0.0, 0.0][:_AXES]),  # type: ignore[arg-type]
        stretches=tuple(sorted(stretches, key=lambda s: (s.born, s.left))),
        steps=len(history),
        criterion=f"{name.replace('_', ' ')} on {split}",
        threshold=connection.threshold,
        high=max([*known, connection.threshold]),
        connected=connection.connected,
    )


def string_table(info: StringInfo) -> Table:
    """All points of all stretches, with the steps at which they were part of the string."""
    return Table(
        ("from step", "to step", "left model", "right model", "PC 1", "PC 2", "PC 3",
         info.criterion),
        [
            (s.born, info.steps if s.ended is None else s.ended - 1, s.left, s.right, *point, value)
            for s in info.stretches
            for point, value in zip(s.points, s.values, strict=True)
        ],
    )  # fmt: skip


def _replaced(history: Sequence[int], profile: Profile, models: np.ndarray) -> list[Stretch]:
    """Segments that beads replaced: each was born with the younger of its ends."""
    born = dict.fromkeys((0, len(models) - 1), 0)
    found = []
    for step, (place, (left, right)) in enumerate(
        zip(history, replaced_segments(history), strict=True), 1
    ):
        values = profile.replaced[step - 1] if step <= len(profile.replaced) else (None, None)
        t = np.linspace(0, 1, len(values))[:, None]
        points = (1 - t) * models[left] + t * models[right]
        since = max(born[left], born[right])
        found.append(Stretch(left, right, since, step, tuple(map(_point, points)), values))
        born[place] = step
    return found


def _finished(
    born: Sequence[int],
    profile: Profile,
    t: np.ndarray,
    along: np.ndarray,
    values: Sequence[float | None],
) -> list[Stretch]:
    """Segments of the finished string, from the points of the profile."""
    knots = (
        np.searchsorted(t, profile.beads) if len(profile.beads) == len(born) else [0, len(t) - 1]
    )
    return [
        Stretch(i, i + 1, max(born[i], born[i + 1]), None,
                tuple(map(_point, along[start : end + 1])), tuple(values[start : end + 1]))
        for i, (start, end) in enumerate(pairwise(knots))
    ]  # fmt: skip


def _padded(coordinates: torch.Tensor) -> np.ndarray:
    """`[n, 3]`, zeros where there are fewer components."""
    found = np.zeros((len(coordinates), _AXES))
    found[:, : coordinates.shape[1]] = coordinates.numpy()
    return found


def _point(row: np.ndarray) -> Point:
    x, y, z = row.tolist()
    return x, y, z
