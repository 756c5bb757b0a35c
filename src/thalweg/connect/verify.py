"""Re-check a connection from its files: other points, float64, nothing taken on trust."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from thalweg.certify.bisection import prove_segment
from thalweg.certify.chord import applies, prove_chords
from thalweg.certify.pieces import ProvedSegment
from thalweg.connect.connection import Connection
from thalweg.errors import InputError
from thalweg.objective import Objective, evaluate_on
from thalweg.parameters import each_row, fingerprint, release
from thalweg.paths import Polygonal, bezier

# Points evaluated together.
_STACK = 16
# Relative difference that summation in another order may make in float64, and one in float32
# where a bead's value was taken in the precision of the model.
_ROUNDING = 1e-5
# Share of the threshold by which a value may exceed the estimate of a sampled certificate.
_ESTIMATE = 0.02
# Parameters × examples up to which a point is cheap.
_CHEAP = 1e10
# Evaluations of the bound that proving a segment again may take.
_PROOF = 1000


@dataclass(frozen=True)
class Verification:
    """What a second look at a connection found.

    Attributes:
        passed: whether every check held.
        problems: one sentence for each that did not.
        max_criterion_seen: largest value found, in float64.
        points: how many points of the path were evaluated.
        threshold: L0.
        proved_again: segments that were proved again; 0 for sampled certificates.
    """

    passed: bool
    problems: tuple[str, ...]
    max_criterion_seen: float
    points: int
    threshold: float
    proved_again: int = 0


def verify(
    connection: Connection,
    objective: Objective,
    *,
    points: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Verification:
    """Evaluate a connection's path anew, in float64, on points of its own.

    The record must agree with the path (endpoints, beads, lengths, bounds at or below the
    threshold); every vertex and `points` points inside every segment, one at random in each of
    as many equal parts, must be at or below the threshold. What was proved is proved again, on
    another subdivision.

    Args:
        connection: as loaded from its folder.
        objective: built anew from the task or factory that the record names.
        points: inside each segment; None: 33, or 9 where a point is expensive.
        progress: called with (steps done, steps in all): points, and segments to prove again.

    Returns:
        The verification.

    Raises:
        InputError: if the objective is not that of the connection, or `points` is not positive.
    """
    if points is None:
        work = objective.layout.size * len(objective.splits[objective.criterion.split])
        points = 33 if work <= _CHEAP else 9
    if points < 1:
        raise InputError(f"expected at least one point a segment to verify, got {points}")
    _check_objective(connection, objective)
    problems = _contradictions(connection)
    scan, proved = _Scan(connection.threshold), 0
    _scan(connection, objective.double(), points, scan, progress)
    problems += _broken_claims(connection, scan)
    if not problems and connection.certificate == "proved":
        total = _steps(connection, points)
        failed = _prove_again(
            connection, objective, lambda done: progress and progress(scan.points + done, total)
        )
        proved = len(connection.segments) - len(failed)
        problems += failed
    return Verification(
        passed=not problems,
        problems=tuple(problems),
        max_criterion_seen=scan.highest,
        points=scan.points,
        threshold=connection.threshold,
        proved_again=proved,
    )


@dataclass
class _Scan:
    """What was found along the path.

    Attributes:
        threshold: L0.
        segments: largest value on each segment, its start included; NaN stays NaN.
        ends: criterion at both endpoints.
        points: evaluated.
        above: of those, how many are not at or below the threshold.
        where: of the largest value.
    """

    threshold: float
    segments: list[float] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)
    points: int = 0
    above: int = 0
    where: str = ""

    @property
    def highest(self) -> float:
        """Largest value on the path; NaN if any is."""
        return float(np.max(self.segments)) if self.segments else -math.inf

    def record(self, segment: int, t: np.ndarray, values: np.ndarray) -> None:
        """Keep the values of one segment."""
        before = self.highest
        self.segments.append(float(np.max(values)))
        self.points += len(values)
        self.above += int(np.sum(~(values <= self.threshold)))
        if not (math.isnan(before) or self.highest <= before):
            self.where = f"at {t[int(np.argmax(values))]:.4f} of segment {segment}"


def _scan(
    connection: Connection,
    objective: Objective,
    points: int,
    scan: _Scan,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Evaluate every vertex, and one random point in each of `points` parts of every segment."""
    path = connection.path.points
    stretches = _stretches(connection)
    last = len(stretches) - 1
    total = _steps(connection, points)
    random = np.random.default_rng(_seed(connection))
    for i, stretch in enumerate(stretches):
        parts = points * (len(stretch) - 1)
        inside = (np.arange(parts) + random.uniform(size=parts)) / parts
        t = np.concatenate([[0.0], inside, [1.0] if i == last else []])
        values: list[float] = []
        for part in np.array_split(t, math.ceil(len(t) / _STACK)):
            own = path[stretch.start : stretch.stop].to(objective.device, torch.float64)
            values += _values(objective, own, torch.from_numpy(part)).tolist()
            if progress:
                progress(scan.points + len(values), total)
        release(path)
        scan.record(i + 1, t, np.array(values))
        scan.ends += ([values[0]] if i == 0 else []) + ([values[-1]] if i == last else [])


def _values(objective: Objective, points: Tensor, t: Tensor) -> Tensor:
    """The criterion `[m]` at some t of a segment, or of a Bézier curve with control points."""
    criterion = objective.criterion
    if len(points) > 2:
        return objective.criterion_of(bezier(points, t)).values[:, 0]
    start, end = points
    return evaluate_on(
        objective, start, (end - start)[None], t[:, None], criterion.split, (criterion,)
    ).values[:, 0]


def _stretches(connection: Connection) -> list[range]:
    """Which points of the path each of its segments has; a Bézier curve is one with all of them."""
    count = len(connection.path.points)
    if isinstance(connection.path, Polygonal):
        return [range(i, i + 2) for i in range(count - 1)]
    return [range(count)]


def _broken_claims(connection: Connection, scan: _Scan) -> list[str]:
    """Where the values found contradict the threshold, a bound or a recorded value."""
    problems = []
    if scan.above:
        problems.append(
            f"the criterion is {scan.highest:.6g} {scan.where}, above the threshold "
            f"{scan.threshold:g} ({scan.above} of {scan.points} points are not at or below it)"
        )
    for i, (segment, found) in enumerate(zip(connection.segments, scan.segments, strict=False), 1):
        bound = segment.bound
        # A sampled bound is an estimate, which a value may pass by a little below the threshold.
        slack = _ROUNDING * scan.threshold
        if segment.kind == "sampled":
            slack = _ESTIMATE * scan.threshold
        if bound is not None and not found <= bound + slack:
            problems.append(f"segment {i} reaches {found:.9g}, its recorded bound is {bound:.9g}")
    for name, end, found in zip("AB", connection.endpoints, scan.ends, strict=True):
        if not math.isclose(end.criterion, found, rel_tol=1e-6, abs_tol=1e-12):
            problems.append(
                f"endpoint {name} has the criterion {found:.9g}, {end.criterion:.9g} is recorded"
            )
    return problems


def _prove_again(
    connection: Connection, objective: Objective, progress: Callable[[int], object]
) -> list[str]:
    """Prove every segment anew, on a subdivision of our own."""
    problems = []
    path = connection.path.points
    random = np.random.default_rng(_seed(connection))
    pairs = zip(connection.segments, _stretches(connection), strict=True)
    for i, (segment, stretch) in enumerate(pairs):
        # As many pieces as would fit the widest of the first proof, cut elsewhere; those that fail
        # are bisected.
        widest = max((right - left for left, right, _ in segment.pieces), default=1.0)
        parts = max(2, math.ceil(1 / widest))
        cuts = (np.arange(1, parts) + random.uniform(-0.3, 0.3, size=parts - 1)) / parts
        found = _prove_segment_again(
            connection,
            objective,
            path[stretch.start : stretch.stop].to(objective.device),
            cuts.tolist(),
        )
        release(path)
        marks = [0.0, *(right for _, right, _ in segment.pieces)]
        covers = marks[-1] == 1 and marks[:-1] == [left for left, _, _ in segment.pieces]
        highest = max((bound for _, _, bound in segment.pieces), default=-math.inf)
        if found.reason != "proved":
            problems.append(
                f"segment {i + 1} was not proved again at or below {connection.threshold:g}: "
                f"{found.reason}, bound {found.bound:.9g}"
            )
        elif not covers or highest != segment.bound:
            problems.append(f"the recorded pieces of segment {i + 1} do not make up its bound")
        progress(i + 1)
    return problems


def _prove_segment_again(
    connection: Connection, objective: Objective, points: Tensor, cuts: list[float]
) -> ProvedSegment:
    """Prove by Taylor models, whatever the first proof was; by chords where those get stuck."""
    level, straight = connection.threshold, len(points) == 2
    ends = points[[0, -1]]
    found = prove_segment(
        objective, ends[0], ends[1],
        threshold=level, max_evaluations=_PROOF, tolerance=1e-6, cuts=cuts,
        bends=None if straight else points[1:-1],
    )  # fmt: skip
    if found.reason in ("proved", "refused") or not straight or applies(objective) is not None:
        return found
    return prove_chords(
        objective, ends[:1], ends[1:], [level],
        max_evaluations=_PROOF, tolerance=1e-9, cuts=[cuts],
    )[0]  # fmt: skip


def _steps(connection: Connection, points: int) -> int:
    """Points to evaluate, and segments to prove again."""
    stretches = _stretches(connection)
    proofs = len(stretches) if connection.certificate == "proved" else 0
    return (len(connection.path.points) - 1) * points + len(stretches) + 1 + proofs


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
    if not all(bool(torch.isfinite(row).all()) for row in each_row(path.points)):
        problems.append("the path holds NaN or inf")
    for name, end, theta in zip("AB", connection.endpoints, path.points[[0, -1]], strict=True):
        if fingerprint(theta) != end.sha256:
            problems.append(f"endpoint {name} of the path is not the recorded one (SHA-256)")
    lengths = path.segment_lengths if isinstance(path, Polygonal) else [path.length]
    if len(segments) != len(lengths):
        problems.append(f"{len(segments)} segments are recorded, the path has {len(lengths)}")
        return problems
    for i, (segment, length) in enumerate(zip(segments, lengths, strict=True), 1):
        if not math.isclose(segment.length, length, rel_tol=1e-9):
            problems.append(f"segment {i} is {length:.9g} long, {segment.length:.9g} is recorded")
        bound, seen = segment.bound, segment.seen
        if bound is not None and seen is not None and seen > bound + _ROUNDING * abs(bound):
            problems.append(f"segment {i} is recorded with the value {seen:.9g} above its bound")
        if connection.connected and (bound is None or bound > connection.threshold):
            problems.append(f"segment {i} is recorded without a bound at or below the threshold")
    return problems


def _seed(connection: Connection) -> int:
    """Points that depend on the path, and that nobody chose."""
    text = "".join(end.sha256 for end in connection.endpoints) + str(len(connection.segments))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
