"""What a comparison of methods shows, in numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from thalweg.connect import Connection
from thalweg.errors import InputError


@dataclass(frozen=True)
class MethodRow:
    """What one method found, and what it cost.

    Attributes:
        method: its name.
        outcome: how its search ended.
        connected: whether it found a path.
        barrier: the largest criterion seen on its path minus that of the higher endpoint, at
            least zero.
        bound: certified upper bound over the whole path; None without one.
        certificate: ``"proved"`` or ``"sampled"``.
        normalized_length: of the path; None where the endpoints are equal.
        tightened_from: normalized length before the path was shortened; None: it was not.
        beads: intermediate models, or control points.
        gradient_samples: models × examples whose gradients were taken.
        criterion_samples: models × examples looked at to measure the criterion.
        bound_samples: intervals × examples gone through for proofs.
        seconds: of the whole search.
    """

    method: str
    outcome: str
    connected: bool
    barrier: float
    bound: float | None
    certificate: str
    normalized_length: float | None
    tightened_from: float | None
    beads: int
    gradient_samples: int
    criterion_samples: int
    bound_samples: int
    seconds: float


@dataclass(frozen=True)
class ComparisonInfo:
    """All numbers that the table and the picture of a comparison show.

    Attributes:
        rows: one a method, in the order of the comparison.
        threshold: L0.
        endpoint: the larger criterion of the two endpoints.
        criterion: as in ``"loss on train"``.
    """

    rows: tuple[MethodRow, ...]
    threshold: float
    endpoint: float
    criterion: str


def compute_comparison(connections: Sequence[Connection]) -> ComparisonInfo:
    """Gather what a comparison shows.

    Args:
        connections: of one pair, by several methods.

    Returns:
        The numbers; nothing is evaluated here.

    Raises:
        InputError: if there is none, or they are of different pairs, thresholds or criteria.
    """
    if not connections:
        raise InputError("expected at least one connection to compare, got none")
    first = connections[0]
    for other in connections:
        ends = [end.sha256 for end in other.endpoints]
        same = other.threshold == first.threshold and dict(other.criterion) == dict(first.criterion)
        if not same or ends != [end.sha256 for end in first.endpoints]:
            raise InputError(
                f"expected connections of one pair at one threshold, got '{other.method}' of "
                "another: compare what belongs together"
            )
    name = first.criterion["name"].replace("_", " ")
    return ComparisonInfo(
        rows=tuple(_row(connection) for connection in connections),
        threshold=first.threshold,
        endpoint=max(end.criterion for end in first.endpoints),
        criterion=f"{name} on {first.criterion['split']}",
    )


def _row(connection: Connection) -> MethodRow:
    ends = max(end.criterion for end in connection.endpoints)
    counts = connection.counts
    return MethodRow(
        method=connection.method,
        outcome=str(connection.outcome),
        connected=connection.connected,
        barrier=max(0.0, connection.max_criterion_seen - ends),
        bound=connection.max_criterion_bound,
        certificate=connection.certificate,
        normalized_length=connection.normalized_length,
        tightened_from=connection.settings.get("tightened_from"),
        beads=connection.beads,
        gradient_samples=counts.gradient_samples,
        criterion_samples=counts.criterion_samples,
        bound_samples=counts.bound_samples,
        seconds=connection.seconds["total"],
    )
