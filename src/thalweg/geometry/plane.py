"""A surface with what lies on it: its axes, models marked on it, and paths drawn over it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from types import MappingProxyType

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from thalweg.errors import InputError
from thalweg.geometry.frame import Frame
from thalweg.geometry.partial import FORMAT
from thalweg.geometry.surface import Extent, Surface, surface
from thalweg.objective import Criterion, Objective
from thalweg.parameters import fingerprint, replacing
from thalweg.paths import Path, Polygonal

# Points of a curve that is not polygonal.
_CURVE = 101
# Room around what lies on a plane, as a fraction of its width.
_MARGIN = 0.25


@dataclass(frozen=True)
class Mark:
    """A model on a plane.

    Attributes:
        name: what to write beside it.
        position: its coordinates.
        distance: how far it lies off the plane, in parameters.
        sha256: of its parameters.
    """

    name: str
    position: tuple[float, ...]
    distance: float
    sha256: str


@dataclass(frozen=True, eq=False)
class Line:
    """A path over a plane: its projection.

    Attributes:
        name: what it is.
        positions: `[k, m]`: vertices, or points of a curve, in order.
        distances: `[k]`: how far each lies off the plane.
        beads: whether the positions are models, rather than points of a curve.
    """

    name: str
    positions: Tensor
    distances: Tensor
    beads: bool


@dataclass(frozen=True, eq=False)
class Plane:
    """A surface over a plane or line, and what lies on it.

    Attributes:
        surface: the values.
        names: what each axis is.
        criterion: what the values are, as in ``"loss on train"``.
        threshold: L0, where there is one to compare with.
        marks: models.
        lines: paths.
    """

    surface: Surface
    names: tuple[str, ...]
    criterion: str
    threshold: float | None = None
    marks: tuple[Mark, ...] = ()
    lines: tuple[Line, ...] = ()

    def save(self, file: str | FilePath) -> None:
        """Write it as one safetensors file, completely or not at all.

        Args:
            file: its name. It may be the file that ``surface(resume=…)`` used: a second call
                finds the values in it.

        Raises:
            InputError: if it cannot be written.
        """
        found = self.surface
        values = torch.stack([found.measures[name].flatten() for name in found.measures], dim=1)
        tensors = {"values": values}
        tensors |= {f"axis.{i}": axis for i, axis in enumerate(found.axes)}
        for i, line in enumerate(self.lines):
            tensors |= {f"line.{i}": line.positions, f"line.{i}.distances": line.distances}
        about = {
            "names": self.names,
            "criterion": self.criterion,
            "threshold": self.threshold,
            "marks": [vars(mark) for mark in self.marks],
            "lines": [{"name": line.name, "beads": line.beads} for line in self.lines],
            "measures": list(found.measures),
            "norms": found.norms,
            "split": found.split,
            "examples": found.examples,
        }
        metadata = {"format": FORMAT, "version": "1", "key": found.key or "",
                    "plane": json.dumps(about)}  # fmt: skip
        with replacing(FilePath(file)) as temporary:
            temporary.write_bytes(save({n: t.contiguous() for n, t in tensors.items()}, metadata))


def load_plane(file: str | FilePath) -> Plane:
    """Read a plane.

    Args:
        file: written by :meth:`Plane.save`.

    Raises:
        InputError: if it is missing, damaged, not finished or not a plane.
    """
    file = FilePath(file)
    if not file.is_file():
        raise InputError(f"expected a surface at {file}, got nothing: check the path")
    try:
        with safe_open(file, framework="pt") as content:
            metadata = content.metadata() or {}
            tensors = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118 no mapping
        return _plane(json.loads(metadata["plane"]), tensors, metadata["key"] or None)
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"expected a safetensors file, got one that cannot be read ({error}): {file} is "
            "truncated or corrupt"
        ) from error
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        raise InputError(
            f"expected a finished surface written by thalweg, got other content ({error}) in "
            f"{file}: run thalweg surface or thalweg plane again"
        ) from error


def plane(
    objective: Objective,
    frame: Frame,
    extent: Extent | None = None,
    shape: int | Sequence[int] = 41,
    *,
    models: Mapping[str, Tensor] = MappingProxyType({}),
    paths: Mapping[str, Path] = MappingProxyType({}),
    threshold: float | None = None,
    split: str | None = None,
    measures: Sequence[Criterion] | None = None,
    progress: Callable[[int, int], None] | None = None,
    resume: str | FilePath | None = None,
) -> Plane:
    """Evaluate the criterion over a plane or line, and place models and paths on it.

    Args:
        objective: whose criterion.
        frame: the plane.
        extent: see :func:`surface`; default: what lies on it, with room around; without that,
            `[-1, 1]` along every axis.
        shape: see :func:`surface`.
        models: name to θ `[p]`, marked where they lie or above where they lie.
        paths: name to path, drawn likewise.
        threshold: L0, drawn as a contour.
        split: see :func:`surface`.
        measures: see :func:`surface`.
        progress: see :func:`surface`.
        resume: see :func:`surface`.

    Returns:
        The plane.

    Raises:
        InputError: as :func:`surface`.

    Example:
        >>> from torch import nn
        >>> from thalweg.geometry import plane_through
        >>> x = torch.eye(3)
        >>> objective = Objective(nn.Linear(3, 1, bias=False), nn.functional.mse_loss,
        ...                       train=(x, torch.zeros(3, 1)))
        >>> a, b, c = torch.zeros(3), torch.tensor([2.0, 0, 0]), torch.tensor([1.0, 3, 0])
        >>> found = plane(objective, plane_through(objective, a, b, c), shape=(3, 2),
        ...               models={"A": a, "C": c})
        >>> found.marks[1].position, [axis.tolist() for axis in found.surface.axes]
        ((1.0, 3.0), [[-0.25, 0.5, 1.25], [-0.75, 3.75]])
    """
    marks = tuple(_mark(frame, name, theta) for name, theta in models.items())
    lines = tuple(_line(frame, name, path) for name, path in paths.items())
    over = extent if extent is not None else _around(frame, marks, lines)
    found = surface(
        objective, frame.origin.to(objective.layout.dtype),
        frame.directions.to(objective.layout.dtype), over, shape, split=split, measures=measures,
        progress=progress, resume=resume,
    )  # fmt: skip
    name = next(iter(found.measures)).replace("_", " ")
    return Plane(found, frame.names, f"{name} on {found.split}", threshold, marks, lines)


def _mark(frame: Frame, name: str, theta: Tensor) -> Mark:
    (position,) = frame.coordinates(theta[None]).tolist()
    (distance,) = frame.distances(theta[None]).tolist()
    return Mark(name, tuple(position), distance, fingerprint(theta))


def _line(frame: Frame, name: str, path: Path) -> Line:
    beads = isinstance(path, Polygonal)
    points = path.points if beads else path.at(torch.linspace(0, 1, _CURVE, dtype=torch.float64))
    return Line(name, frame.coordinates(points), frame.distances(points), beads)


def _around(frame: Frame, marks: Sequence[Mark], lines: Sequence[Line]) -> Extent:
    """An extent that holds what lies on the plane, in the units of both axes."""
    rows = [torch.tensor([mark.position for mark in marks], dtype=torch.float64)] if marks else []
    placed = torch.cat([*rows, *(line.positions for line in lines)]) if marks or lines else None
    if placed is None:
        return 1.0
    low, high = placed.amin(0), placed.amax(0)
    margin = _MARGIN * (high - low)
    # An axis along which nothing spreads still needs a width.
    margin = torch.where(margin > 0, margin, margin.max().clamp_min(1e-3))
    return [[float(a), float(b)] for a, b in zip(low - margin, high + margin, strict=True)]


def _plane(about: dict, tensors: Mapping[str, Tensor], key: str | None) -> Plane:  # type: ignore[type-arg]
    axes = tuple(tensors[f"axis.{i}"] for i in range(len(about["names"])))
    values = tensors["values"].reshape(*(len(axis) for axis in axes), len(about["measures"]))
    measures = {name: values[..., i].contiguous() for i, name in enumerate(about["measures"])}
    found = Surface(
        values=measures[about["measures"][0]],
        axes=axes,
        norms=tuple(about["norms"]),
        measures=MappingProxyType(measures),
        split=about["split"],
        examples=about["examples"],
        key=key,
    )
    return Plane(
        surface=found,
        names=tuple(about["names"]),
        criterion=about["criterion"],
        threshold=about["threshold"],
        marks=tuple(Mark(m["name"], tuple(m["position"]), m["distance"], m["sha256"])
                    for m in about["marks"]),
        lines=tuple(Line(each["name"], tensors[f"line.{i}"], tensors[f"line.{i}.distances"],
                         each["beads"]) for i, each in enumerate(about["lines"])),
    )  # fmt: skip
