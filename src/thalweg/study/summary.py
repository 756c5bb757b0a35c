"""What the cells of a study say together: means over pairs, and components among networks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from thalweg.study.results import ABOVE, FAILED, UNTRAINED, Row


@dataclass(frozen=True)
class Mean:
    """A mean over pairs.

    Attributes:
        value: the mean.
        error: standard error of the mean; None for a single pair.
    """

    value: float
    error: float | None


@dataclass(frozen=True)
class Level:
    """All pairs of one task, protocol and method at one threshold.

    Attributes:
        task: of the cells.
        protocol: of the cells.
        method: of the cells.
        threshold: L0.
        pairs: how many there are.
        connected: pairs with a path.
        not_connected: pairs that ended without.
        failed: pairs whose computation broke off.
        pending: pairs without a result yet.
        length: normalized length of the paths.
        beads: on the paths.
        components: of the graph of networks and paths, where networks are in several pairs and no
            pair is pending: at most so many components has the level set among these networks.
        networks: that the components are counted among: those of some pair both of whose networks
            reached the level. Others are in no component.
    """

    task: str
    protocol: str
    method: str
    threshold: float
    pairs: int
    connected: int
    not_connected: int
    failed: int
    pending: int
    length: Mean | None
    beads: Mean | None
    components: int | None
    networks: int


def choose(
    rows: Iterable[Row],
    *,
    pairs: int | None = None,
    thresholds: Sequence[float] | None = None,
    seed: int | None = None,
    protocols: Sequence[str] | None = None,
) -> list[Row]:
    """Some rows of a study; None chooses all.

    Args:
        rows: of the study.
        pairs: so many of each task, threshold, protocol and method, the first ones.
        thresholds: at these levels.
        seed: whose networks have this seed or a larger one.
        protocols: done so.
    """
    counted: dict[tuple[object, ...], int] = {}
    chosen = []
    for row in rows:
        if thresholds is not None and not any(math.isclose(row.threshold, x) for x in thresholds):
            continue
        if protocols is not None and row.protocol not in protocols:
            continue
        if seed is not None and row.seed_a < seed:
            continue
        place = row.task, row.threshold, row.protocol, row.method
        counted[place] = counted.get(place, 0) + 1
        if pairs is None or counted[place] <= pairs:
            chosen.append(row)
    return chosen


def summarize(rows: Iterable[Row]) -> list[Level]:
    """Means over the pairs of each task, protocol, method and threshold, in the order of the rows.

    Pairs without a path count in no mean, and are counted by themselves.

    Args:
        rows: of a study.
    """
    groups: dict[tuple[str, str, str, float], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.task, row.protocol, row.method, row.threshold), []).append(row)
    return [_level(place, group) for place, group in groups.items()]


def mean(values: Sequence[float]) -> Mean | None:
    """Mean and standard error; None of nothing.

    Example:
        >>> mean([1.0, 3.0])
        Mean(value=2.0, error=1.0)
    """
    if not values:
        return None
    value = math.fsum(values) / len(values)
    if len(values) == 1:
        return Mean(value, None)
    variance = math.fsum((x - value) ** 2 for x in values) / (len(values) - 1)
    return Mean(value, math.sqrt(variance / len(values)))


def _level(place: tuple[str, str, str, float], rows: Sequence[Row]) -> Level:
    connected = [row for row in rows if row.connected]
    failed = sum(row.outcome == FAILED for row in rows)
    pending = sum(not row.ended for row in rows)
    seeds = _seeds(rows)
    several = len(seeds) < 2 * len(rows)
    networks = _seeds([row for row in rows if row.outcome not in (UNTRAINED, ABOVE)])
    return Level(
        *place,
        pairs=len(rows),
        connected=len(connected),
        not_connected=len(rows) - len(connected) - failed - pending,
        failed=failed,
        pending=pending,
        length=mean([r.normalized_length for r in connected if r.normalized_length is not None]),
        beads=mean([float(r.beads) for r in connected if r.beads is not None]),
        components=_components(networks, connected) if several and not pending else None,
        networks=len(networks),
    )


def _seeds(rows: Sequence[Row]) -> set[int]:
    return {seed for row in rows for seed in (row.seed_a, row.seed_b)}


def _components(networks: set[int], connected: Sequence[Row]) -> int:
    """Components of the graph whose edges are paths."""
    root = {seed: seed for seed in networks}

    def find(seed: int) -> int:
        while root[seed] != seed:
            root[seed] = root[root[seed]]
            seed = root[seed]
        return seed

    for row in connected:
        root[find(row.seed_a)] = find(row.seed_b)
    return len({find(seed) for seed in networks})
