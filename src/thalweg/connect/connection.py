"""The record of a search for a path, and its folder of files."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path as FilePath
from typing import Any

from thalweg.connect.outcome import Outcome
from thalweg.connect.schema import (
    FORMAT,
    VERSION,
    Document,
    SegmentEntry,
    check_document,
    derived_differs,
)
from thalweg.errors import InputError, VerificationError
from thalweg.parameters import fingerprint
from thalweg.paths import Path, load_path, save_path

PATH_FILE = "path.safetensors"
RECORD_FILE = "connection.json"
PLANE_VALUES = "plane.values.safetensors"
PLANE_FILES = ("plane.png", "plane.csv", "plane-positions.csv", PLANE_VALUES)
"""A plane through the path, where one was drawn: its picture, tables and values."""
# What a connection's folder may hold and be replaced: anything else is somebody's own.
OWN_FILES = {PATH_FILE, RECORD_FILE, "profile.png", "profile.svg", "profile.csv", *PLANE_FILES}
# Figures of the file that follow from path and segments, and must.
DERIVED = (
    "beads", "length", "endpoint_distance", "normalized_length", "max_criterion_bound",
    "max_criterion_seen",
)  # fmt: skip


@dataclass(frozen=True)
class Segment:
    """A straight piece of a string, and its certificate.

    Attributes:
        length: Euclidean, over all parameters.
        bound: certified upper bound of the criterion, or None where it was not certified.
        seen: largest value evaluated on it.
        kind: ``"sampled"`` or ``"proved"``.
        evaluations: points at which the criterion was evaluated, ends included, and intervals
            over which it was bounded.
        pieces: of a proof: `(t_left, t_right, bound)` in order, covering [0, 1].
    """

    length: float
    bound: float | None
    seen: float | None
    kind: str
    evaluations: int
    pieces: tuple[tuple[float, float, float], ...] = ()


@dataclass(frozen=True)
class Counts:
    """What a search cost, in units that do not depend on the machine.

    Attributes:
        gradient_evaluations: models × minibatches.
        gradient_samples: models × examples.
        criterion_evaluations: models whose criterion was evaluated.
        criterion_samples: models × examples looked at for that.
        bound_evaluations: intervals bounded by a proof.
        bound_samples: intervals × examples.
        training_steps: optimizer steps, summed over the beads.
    """

    gradient_evaluations: int = 0
    gradient_samples: int = 0
    criterion_evaluations: int = 0
    criterion_samples: int = 0
    bound_evaluations: int = 0
    bound_samples: int = 0
    training_steps: int = 0

    def __add__(self, other: Counts) -> Counts:
        mine, theirs = vars(self), vars(other)
        return Counts(**{name: mine[name] + theirs[name] for name in mine})


@dataclass(frozen=True)
class Endpoint:
    """An endpoint of a path.

    Attributes:
        criterion: its value, evaluated in float64.
        sha256: of its parameters (:func:`thalweg.parameters.fingerprint`).
        given_sha256: of the parameters as they were given, where the endpoint was moved by the
            symmetries of the network before the search.
    """

    criterion: float
    sha256: str
    given_sha256: str | None = None


@dataclass(frozen=True)
class Profile:
    """Loss and criterion along a path, on every split.

    Attributes:
        t: fractions of the path's length.
        beads: the fractions at which the beads lie, both endpoints included.
        values: ``"loss/train"``, ``"error_rate/test"``, …: one value for each `t`, None where
            it is not finite.
        linear: the same measures on the straight line between the endpoints.
        examples: examples of each split that were looked at, on the path.
        replaced: for each bead in the order of the connection's history, the criterion at evenly
            spaced points, ends included, of the segment that it replaced by two.
    """

    t: tuple[float, ...]
    beads: tuple[float, ...]
    values: Mapping[str, tuple[float | None, ...]]
    linear: Mapping[str, tuple[float | None, ...]]
    examples: Mapping[str, int]
    replaced: tuple[tuple[float | None, ...], ...] = ()


@dataclass(frozen=True, eq=False)
class Connection:
    """A path between two models, or how far the search for it came.

    Attributes:
        outcome: how the search ended.
        message: the same in one sentence, with figures.
        path: the string, both endpoints included; if not connected, as far as it came.
        segments: one for each piece of the path.
        threshold: L0.
        criterion: ``{"name", "split"}``.
        method: name of the method.
        certificate: ``"sampled"`` or ``"proved"``.
        endpoints: both, in order.
        counts: cost in evaluations and samples.
        seconds: ``{"training", "certifying", "total"}``.
        seed: of everything random.
        settings: what the search was asked to do.
        versions: of the software.
        profile: loss and criterion along the path, where it was asked for.
        history: places of the beads on the path, from 1, in the order in which they were put in;
            empty where the method moved them since, or there are none.
    """

    outcome: Outcome
    message: str
    path: Path
    segments: tuple[Segment, ...]
    threshold: float
    criterion: Mapping[str, str]
    method: str
    certificate: str
    endpoints: tuple[Endpoint, Endpoint]
    counts: Counts
    seconds: Mapping[str, float]
    seed: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    profile: Profile | None = None
    history: tuple[int, ...] = ()

    @property
    def connected(self) -> bool:
        """Whether the whole path is at or below the threshold."""
        return self.outcome.connected

    @property
    def beads(self) -> int:
        """Number of intermediate models on the path; of a Bézier curve, of its control points."""
        return len(self.path.points) - 2

    @property
    def length(self) -> float:
        """Euclidean length of the path."""
        return self.path.length

    @property
    def endpoint_distance(self) -> float:
        """‖θB − θA‖."""
        return self.path.endpoint_distance

    @property
    def normalized_length(self) -> float | None:
        """Length / ‖θB − θA‖; None where the endpoints are equal."""
        return self.path.normalized_length

    @property
    def max_criterion_bound(self) -> float | None:
        """Certified upper bound of the criterion over the whole path, or None without one."""
        bounds = [s.bound for s in self.segments]
        return None if not bounds or None in bounds else max(b for b in bounds if b is not None)

    @property
    def max_criterion_seen(self) -> float:
        """Largest value evaluated on the path."""
        seen = [s.seen for s in self.segments if s.seen is not None]
        return max([*seen, *(end.criterion for end in self.endpoints)])

    def document(self) -> dict[str, Any]:
        """The record as a JSON-ready dictionary: the content of ``connection.json``."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "outcome": str(self.outcome),
            "message": self.message,
            "method": self.method,
            "certificate": self.certificate,
            "threshold": self.threshold,
            "criterion": dict(self.criterion),
            "endpoints": [asdict(end) for end in self.endpoints],
            "beads": self.beads,
            "length": self.length,
            "endpoint_distance": self.endpoint_distance,
            "normalized_length": self.normalized_length,
            "max_criterion_bound": self.max_criterion_bound,
            "max_criterion_seen": self.max_criterion_seen,
            "segments": [asdict(segment) for segment in self.segments],
            "counts": asdict(self.counts),
            "seconds": dict(self.seconds),
            "seed": self.seed,
            "settings": dict(self.settings),
            "versions": dict(self.versions),
            "profile": None if self.profile is None else asdict(self.profile),
            "history": list(self.history),
        }

    def save(self, folder: str | FilePath) -> None:
        """Write the connection's folder, completely or not at all.

        Args:
            folder: its name; a connection that is already there is replaced.

        Raises:
            InputError: if something else is there, or it cannot be written.
        """
        folder = FilePath(folder)
        check_output(folder)
        temporary: FilePath | None = None
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            temporary = FilePath(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
            save_path(self.path, temporary / PATH_FILE)
            text = json.dumps(self.document(), indent=2, allow_nan=False)
            (temporary / RECORD_FILE).write_text(text + "\n")
            temporary.chmod(0o755)
            _swap(temporary, folder)
        except OSError as error:
            raise InputError(
                f"expected to write {folder}, got '{error.strerror or error}': choose another "
                "place or free some space"
            ) from error
        finally:
            if temporary is not None:
                shutil.rmtree(temporary, ignore_errors=True)

    def with_settings(self, **settings: Any) -> Connection:
        """The same connection, with more settings in its record."""
        return replace(self, settings={**self.settings, **settings})


def load_connection(folder: str | FilePath) -> Connection:
    """Read a saved connection.

    Args:
        folder: written by :meth:`Connection.save`.

    Raises:
        InputError: if a file is missing, truncated or not of a connection.
        VerificationError: if path and record contradict each other.
    """
    folder = FilePath(folder)
    file = folder / RECORD_FILE
    if not file.is_file():
        raise InputError(
            f"expected a connection's folder with {RECORD_FILE}, got none at {folder}: "
            "check the path"
        )
    try:
        content = json.loads(file.read_text())
    except (ValueError, OSError) as error:
        raise InputError(
            f"expected JSON in {file}, got text that cannot be read ({error})"
        ) from error
    document = check_document(content, file)
    connection = _from_document(document, load_path(folder / PATH_FILE), file)
    if connection.history and sorted(connection.history) != [*range(1, connection.beads + 1)]:
        raise VerificationError(
            f"expected 'history' in {file} to name each of the {connection.beads} beads once, got "
            "other numbers: one of the files was changed"
        )
    for name in DERIVED:
        if derived_differs(document, name, getattr(connection, name)):
            raise VerificationError(
                f"expected '{name}' in {file} to follow from path and segments, got "
                f"{getattr(document, name)} instead of {getattr(connection, name)}: one of the "
                "files was changed"
            )
    return connection


def endpoint(criterion: float, theta: Any) -> Endpoint:
    """The record of an endpoint `[p]`."""
    return Endpoint(criterion, fingerprint(theta))


def check_output(folder: FilePath) -> None:
    """Refuse a place where saving would destroy something other than a connection.

    Raises:
        InputError: if there is a file, or a folder that is neither empty nor a connection's.
    """
    if not os.path.lexists(folder):
        return
    what = "a file"
    if folder.is_dir():
        names = {file.name for file in folder.iterdir()}
        others = sorted(names - OWN_FILES)
        if not names or (RECORD_FILE in names and not others):
            return
        what = "a folder that is not a connection's"
        if RECORD_FILE in names:
            what = f"a connection's folder that also holds {', '.join(others[:3])}"
    raise InputError(
        f"expected a new name or the folder of a connection to replace for --out, got {what} at "
        f"{folder}: choose another name or move it away"
    )


def _swap(temporary: FilePath, folder: FilePath) -> None:
    """Give the finished folder its name; the one before it goes only once the new one is there."""
    if not folder.exists():
        temporary.replace(folder)
        return
    folder = folder.resolve()  # a link keeps pointing where it does
    aside = FilePath(tempfile.mkdtemp(prefix=f".{folder.name}.old.", dir=folder.parent))
    old = aside / folder.name
    try:
        folder.replace(old)
        temporary.replace(folder)
    finally:
        if old.exists() and not folder.exists():
            old.replace(folder)
        shutil.rmtree(aside, ignore_errors=True)


def _segment(entry: SegmentEntry) -> Segment:
    pieces = tuple((left, right, bound) for left, right, bound in entry.pieces)
    return Segment(entry.length, entry.bound, entry.seen, entry.kind, entry.evaluations, pieces)


def _from_document(document: Document, path: Path, file: FilePath) -> Connection:
    if document.outcome not in list(Outcome):
        raise InputError(f"expected a known outcome in {file}, got '{document.outcome}'")
    first, last = (Endpoint(**entry.model_dump()) for entry in document.endpoints)
    profile = None
    if document.profile is not None:
        shown = document.profile
        profile = Profile(
            t=tuple(shown.t),
            beads=tuple(shown.beads),
            values={name: tuple(v) for name, v in shown.values.items()},
            linear={name: tuple(v) for name, v in shown.linear.items()},
            examples=shown.examples,
            replaced=tuple(tuple(values) for values in shown.replaced),
        )
    return Connection(
        outcome=Outcome(document.outcome),
        message=document.message,
        path=path,
        segments=tuple(_segment(entry) for entry in document.segments),
        threshold=document.threshold,
        criterion=document.criterion.model_dump(),
        method=document.method,
        certificate=document.certificate,
        endpoints=(first, last),
        counts=Counts(**document.counts.model_dump()),
        seconds=document.seconds,
        seed=document.seed,
        settings=document.settings,
        versions=document.versions,
        profile=profile,
        history=tuple(document.history),
    )
