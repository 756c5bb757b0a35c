"""What Figure 1 of Freeman & Bruna 2017 shows, in numbers: length and beads against the level."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from thalweg.errors import InputError
from thalweg.study import Row
from thalweg.study.summary import Level, Mean, summarize


@dataclass(frozen=True)
class PowerLaw:
    """A fit of y = factor · L0^exponent, a line through the logarithms of means.

    Attributes:
        exponent: slope of the line.
        exponent_error: its standard error, from the scatter about the line.
        factor: y at L0 = 1.
        points: thresholds that it goes through.
    """

    exponent: float
    exponent_error: float
    factor: float
    points: int


@dataclass(frozen=True)
class Point:
    """What is drawn at one threshold.

    Attributes:
        threshold: L0.
        pairs: that have a result.
        connected: of these, those with a path.
        length: normalized length, a mean over those connected.
        beads: likewise.
    """

    threshold: float
    pairs: int
    connected: int
    length: Mean | None
    beads: Mean | None


@dataclass(frozen=True)
class Series:
    """One protocol and method on one task.

    Attributes:
        task: its name.
        label: protocol, and method where there are several.
        points: by rising threshold.
        length_fit: of the normalized length; None with fewer than three points.
        beads_fit: of the number of beads, where there are any.
    """

    task: str
    label: str
    points: tuple[Point, ...]
    length_fit: PowerLaw | None
    beads_fit: PowerLaw | None


@dataclass(frozen=True)
class Figure1Info:
    """All numbers that the figure shows.

    Attributes:
        series: grouped by task.
    """

    series: tuple[Series, ...]


def compute_figure1(rows: Iterable[Row]) -> Figure1Info:
    """Gather what the figure shows; cells without a result are left out, failed ones are counted.

    Args:
        rows: of a study.

    Raises:
        InputError: if no cell has a result.
    """
    levels = summarize(row for row in rows if row.ended)
    if not levels:
        raise InputError("expected cells with results to draw, got none: run the study first")
    several = len({level.method for level in levels}) > 1
    groups: dict[tuple[str, str], list[Level]] = {}
    for level in levels:
        label = f"{level.protocol}, {level.method}" if several else level.protocol
        groups.setdefault((level.task, label), []).append(level)
    tasks = list(dict.fromkeys(task for task, _ in groups))
    ordered = sorted(groups.items(), key=lambda item: tasks.index(item[0][0]))
    return Figure1Info(tuple(_series(*place, group) for place, group in ordered))


def fit_power_law(x: Sequence[float], y: Sequence[float]) -> PowerLaw | None:
    """Least squares through the logarithms of positive values; None of fewer than three.

    Args:
        x: positive.
        y: likewise; where it is not, the point is left out.

    Example:
        >>> fit = fit_power_law([1, 2, 4], [3, 1.5, 0.75])
        >>> fit.exponent, fit.factor
        (-1.0, 3.0)
    """
    kept = [(a, b) for a, b in zip(x, y, strict=True) if b > 0]
    n = len(kept)
    if n < 3 or len({a for a, _ in kept}) < 2:
        return None
    u, v = np.log(np.array(kept)).T
    centred = u - u.mean()
    spread = float(centred @ centred)
    slope = float(centred @ v) / spread
    residual = v - v.mean() - slope * centred
    error = math.sqrt(float(residual @ residual) / (n - 2) / spread)
    factor = math.exp(float(v.mean() - slope * u.mean()))
    return PowerLaw(round(slope, 12), error, round(factor, 12), n)


def _series(task: str, label: str, levels: Sequence[Level]) -> Series:
    points = sorted(
        (
            Point(level.threshold, level.pairs, level.connected, level.length, level.beads)
            for level in levels
        ),
        key=lambda point: point.threshold,
    )
    return Series(
        task, label, tuple(points),
        _fit(points, [point.length for point in points]),
        _fit(points, [point.beads for point in points]),
    )  # fmt: skip


def _fit(points: Sequence[Point], means: Sequence[Mean | None]) -> PowerLaw | None:
    values = [0.0 if mean is None else mean.value for mean in means]
    return fit_power_law([point.threshold for point in points], values)
