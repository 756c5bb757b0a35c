"""Spurious local minima of two-layer relu networks (Safran & Shamir 2018).

A student of `n` relu units learns a teacher of `k` orthonormal ones by gradient descent on the
population objective, from random weights. The share of runs that end in a local minimum that is
not global grows with k for n = k, and falls when students are added (their Tables 1 and 2).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Any

import torch
from torch import Generator, Tensor

from thalweg.errors import InputError
from thalweg.theory.descent import LEVEL, TOLERANCE, Ends, descend
from thalweg.theory.statement import Chart, Finding, Series, Statement

# Safran & Shamir 2018, Tables 1 and 2: (k, n) -> percent of 1,000 runs that end in spurious minima,
# mean least eigenvalue of the Hessian and mean objective there.
PUBLISHED: dict[tuple[int, int], tuple[float, float, float]] = {
    (6, 6): (0.3, 0.0047, 0.025),
    (7, 7): (5.5, 0.014, 0.023),
    (8, 8): (12.6, 0.021, 0.021),
    (9, 9): (21.8, 0.027, 0.02),
    (10, 10): (34.6, 0.03, 0.022),
    (11, 11): (45.5, 0.034, 0.022),
    (12, 12): (58.5, 0.035, 0.021),
    (13, 13): (73.0, 0.037, 0.022),
    (14, 14): (73.6, 0.038, 0.023),
    (15, 15): (80.3, 0.038, 0.024),
    (16, 16): (85.1, 0.038, 0.027),
    (17, 17): (89.7, 0.039, 0.027),
    (18, 18): (90.0, 0.039, 0.029),
    (19, 19): (93.4, 0.038, 0.031),
    (20, 20): (94.0, 0.038, 0.033),
    (8, 9): (0.1, 0.0059, 0.021),
    (10, 11): (0.1, 0.0057, 0.018),
    (11, 12): (0.1, 0.0056, 0.017),
    (12, 13): (0.3, 0.0054, 0.016),
    (13, 14): (1.5, 0.0015, 0.038),
    (14, 15): (5.5, 0.002, 0.033),
    (15, 16): (10.1, 0.004, 0.032),
    (16, 17): (18.0, 0.0055, 0.031),
    (17, 18): (20.9, 0.007, 0.031),
    (18, 19): (36.9, 0.0064, 0.028),
    (19, 20): (49.1, 0.0077, 0.027),
}
_PUBLISHED_RUNS = 1000
_MOST_WEIGHTS = 5000


def initial_students(runs: int, n: int, k: int, *, seed: int, scale: float = 1.0) -> Tensor:
    """Draw random students.

    Safran & Shamir's "Xavier" initialization is that of their published program: independent normal
    weights of variance 1/d, where d = k is the number of inputs.

    Args:
        runs: how many.
        n: units of each.
        k: inputs.
        seed: of the draw.
        scale: standard deviation of a weight, times √k.

    Returns:
        `[runs, n, k]` in float64.

    Example:
        >>> initial_students(2, 4, 3, seed=0).shape
        torch.Size([2, 4, 3])
    """
    generator = Generator().manual_seed(seed)
    normal = torch.randn(runs, n, k, generator=generator, dtype=torch.float64)
    return normal * (scale / math.sqrt(k))


def check(
    k: Annotated[int, "Units of the teacher, and inputs."] = 8,
    n: Annotated[int | None, "Units of the student, at least K. Default: K."] = None,
    runs: Annotated[int, "Runs of gradient descent."] = 200,
    seed: Annotated[int, "Of the initial weights."] = 0,
    scale: Annotated[float, "Standard deviation of an initial weight, times √K."] = 1.0,
    max_steps: Annotated[int, "Of gradient descent, after which a run is undecided."] = 500_000,
) -> Finding:
    """Count the runs of gradient descent that end in a local minimum that is not global.

    Args:
        k: units of the teacher.
        n: units of the student; as many, unless given.
        runs: how many.
        seed: of the initial weights.
        scale: of the initial weights, see :func:`initial_students`.
        max_steps: after which a run is undecided.

    Returns:
        Whether every run was decided, no value rose on the way, and every point above the level
        that a run converged to is certified as a local minimum: its gradient vanishes, its Hessian
        is positive definite, and it is proved to be the end of descent
        (:mod:`thalweg.theory.descent`). Points that are not are not counted as spurious minima;
        with one input there are some, where a unit vanishes and F has a kink.

    Raises:
        InputError: if there are too few or too many units, no runs, no positive scale or seed.

    Example:
        >>> check(k=3, runs=20).values["spurious_percent"]
        0.0
    """
    n = k if n is None else n
    if k < 1 or n < k:
        raise InputError(
            f"expected at least one unit of the teacher and as many or more of the student, got "
            f"k = {k} and n = {n}: with fewer the least value is not known to be 0"
        )
    if n * k > _MOST_WEIGHTS:
        raise InputError(
            f"expected at most {_MOST_WEIGHTS} weights of a student, since the Hessian has their "
            f"square in numbers, got {n} x {k}"
        )
    if runs < 1 or max_steps < 1 or not (scale > 0 and math.isfinite(scale)):
        raise InputError(
            f"expected positive numbers of runs and steps and a positive scale, got {runs}, "
            f"{max_steps} and {scale}"
        )
    if not 0 <= seed < 2**63:
        raise InputError(f"expected a seed of at least 0 and below 2^63, got {seed}")
    ends = descend(initial_students(runs, n, k, seed=seed, scale=scale), max_steps=max_steps)
    spurious = ends.same_basin & ~ends.below
    count, converged = int(spurious.sum()), int(ends.converged.sum())
    uncertified = converged - int((ends.below | ends.same_basin).sum())
    values: dict[str, Any] = {
        "spurious_percent": 100 * count / runs,
        "mean_least_eigenvalue": _mean(ends.least_eigenvalues[spurious]),
        "mean_objective": _mean(ends.values[spurious]),
        "runs": runs,
        "converged": converged,
        "k": k,
        "n": n,
        "seed": seed,
        "scale": scale,
        "spurious": count,
        "uncertified": uncertified,
        "climbed": int(ends.climbed.sum()),
        "least_eigenvalue": float(ends.least_eigenvalues[spurious].min()) if count else None,
        "greatest_gradient_norm": float(ends.gradients[spurious].max()) if count else None,
        "objectives": _distinct(ends.values[spurious]),
        "median_steps": float(ends.steps.double().median()),
    }
    if scale == 1.0:
        values |= dict(_comparison(k, n, ends, spurious))
    return Finding(
        holds=converged == runs and uncertified == 0 and not ends.climbed.any(),
        sentence=_sentence(values),
        values=values,
        charts=_charts(k, n, ends, spurious),
    )


def _mean(values: Tensor) -> float | None:
    return float(values.mean()) if len(values) else None


def _distinct(values: Tensor) -> list[list[float]]:
    """Values that differ by more than 1e-6, each with the number of runs that ended there."""
    rounded, counts = (values * 1e6).round().unique(return_counts=True)
    return [[float(v) / 1e6, int(c)] for v, c in zip(rounded, counts, strict=True)]


def _comparison(k: int, n: int, ends: Ends, spurious: Tensor) -> Iterator[tuple[str, float]]:
    """The published figures, and by how many standard errors ours differ from them."""
    if (k, n) not in PUBLISHED:
        return
    percent, eigenvalue, objective = PUBLISHED[k, n]
    published = {
        "spurious_percent": percent,
        "mean_least_eigenvalue": eigenvalue,
        "mean_objective": objective,
    }
    for name, value in published.items():
        yield f"published_{name}", value
    runs, count = len(spurious), int(spurious.sum())
    theirs = percent / 100
    pooled = (count + theirs * _PUBLISHED_RUNS) / (runs + _PUBLISHED_RUNS)
    error = math.sqrt(pooled * (1 - pooled) * (1 / runs + 1 / _PUBLISHED_RUNS))
    yield "spurious_percent_z", (count / runs - theirs) / error
    if count < 2:
        return
    their_count = theirs * _PUBLISHED_RUNS
    for name, sample, mean in (
        ("mean_least_eigenvalue", ends.least_eigenvalues[spurious], eigenvalue),
        ("mean_objective", ends.values[spurious], objective),
    ):
        # Theirs are printed with two digits: half a unit of the last one is no difference.
        half = 0.5 * 10.0 ** (math.floor(math.log10(mean)) - 1)
        difference = float(sample.mean()) - mean
        beyond = math.copysign(max(abs(difference) - half, 0.0), difference)
        error = float(sample.std()) * math.sqrt(1 / count + 1 / max(their_count, 1))
        if error > 1e-9:
            yield f"{name}_z", beyond / error


def _sentence(values: dict[str, Any]) -> str:
    words = (
        f"k = {values['k']}, n = {values['n']}: {values['spurious']} of {values['runs']} runs "
        f"({values['spurious_percent']:.3g} %) end in spurious minima, with a gradient of norm at "
        f"most {TOLERANCE:g} and a positive definite Hessian; {values['uncertified']} end at "
        f"points that are not certified, {values['runs'] - values['converged']} are undecided."
    )
    if "published_spurious_percent" in values:
        words += (
            f" Safran & Shamir report {values['published_spurious_percent']:g} % "
            f"(z = {values['spurious_percent_z']:.1f})."
        )
    return words


def _charts(k: int, n: int, ends: Ends, spurious: Tensor) -> tuple[Chart, Chart]:
    values = ends.values[spurious]
    kinds = _distinct(values)
    x_label = f"objective, from {LEVEL:g} on (a global minimum has 0)"
    return (
        Chart(
            title=f"Spurious minima, k = {k}, n = {n}",
            x_label=x_label,
            y_label="least eigenvalue of the Hessian",
            series=(
                Series(
                    label="one run each",
                    x=tuple(values.tolist()),
                    y=tuple(ends.least_eigenvalues[spurious].tolist()),
                    points=True,
                ),
            ),
        ),
        Chart(
            title=f"How many of {len(spurious)} runs end there",
            x_label=x_label,
            y_label="runs",
            series=(
                Series(
                    label="runs",
                    x=tuple(value for value, _ in kinds),
                    y=tuple(count for _, count in kinds),
                    points=True,
                ),
            ),
        ),
    )


SPURIOUS_MINIMA = Statement(
    name="spurious-minima",
    source="Safran & Shamir 2018, Theorem 1 and Tables 1, 2",
    claim="Gradient descent of n relu units that learn k orthonormal ones can end in local minima "
    "that are not global, often for n = k > 6, seldom for more units: at every one found the "
    "gradient vanishes and the Hessian is positive definite.",
    check=check,
)
