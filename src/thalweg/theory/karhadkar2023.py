"""Share of activation regions whose Jacobian has full rank (Karhadkar et al. 2023).

A two-layer relu network f(x) = Σ_i v_i relu(w_i·x) with fixed v_i ≠ 0 on n examples divides the
space of its W `[d1, d0]` into regions in which no unit changes from on to off at an example. In one
region f is linear in W, with a Jacobian of n rows, v_i 1[w_i·x_j > 0] x_j. Where its rank is n, a
gradient Jᵀ(f − y) = 0 means f = y: there is no bad local minimum inside. A mild width suffices for
most regions: d0 · d1 >= n, and d1 of the order of log n, so that every example finds a unit on.
"""

from __future__ import annotations

import itertools
import math
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from thalweg.errors import InputError
from thalweg.theory.statement import Chart, Finding, Series, Statement

Array = NDArray[np.float64]
Pattern = NDArray[np.bool_]

_MOST_CANDIDATES = 2_000_000
# Share at the greatest width that counts as most regions.
_MOST = 0.9


def realizable_patterns(x: Array) -> Pattern:
    """All ways in which one unit can be on at some of the examples and off at the others.

    The hyperplanes w·x_j = 0 cut R^d0 into cones. In general position each cone has an edge, on
    which d0 − 1 of the w·x_j vanish, and around an edge these have all combinations of signs.

    Args:
        x: `[n, d0]`, in general position, n >= d0.

    Returns:
        `[patterns, n]`, without repetition.

    Example:
        >>> len(realizable_patterns(np.random.default_rng(0).standard_normal((5, 2))))
        10
    """
    n, d0 = x.shape
    signs = np.array(list(itertools.product((False, True), repeat=d0 - 1))).reshape(
        2 ** (d0 - 1), d0 - 1
    )
    found = []
    for on_edge in itertools.combinations(range(n), d0 - 1):
        chosen = list(on_edge)
        edge = np.linalg.svd(x[chosen].reshape(d0 - 1, d0))[2][-1]
        for ray in (edge, -edge):
            around = np.broadcast_to(x @ ray > 0, (len(signs), n)).copy()
            around[:, chosen] = signs
            found.append(around)
    return np.unique(np.concatenate(found), axis=0)


def pattern_count(n: int, d0: int) -> int:
    """How many such patterns there are in general position (Cover 1965).

    Args:
        n: examples.
        d0: inputs.

    Returns:
        2 Σ_{j<d0} C(n − 1, j).

    Example:
        >>> pattern_count(5, 2)
        10
    """
    return 2 * sum(math.comb(n - 1, j) for j in range(d0))


def full_rank(x: Array, on: Pattern) -> NDArray[np.bool_]:
    """Whether the Jacobian has rank n, for each of a stack of regions.

    Args:
        x: `[n, d0]`.
        on: `[r, d1, n]`, whether a unit is on at an example. What v is does not matter: v_i ≠ 0
            scales columns.

    Returns:
        `[r]`.
    """
    r, d1, n = on.shape
    if d1 * x.shape[1] < n:
        return np.zeros(r, dtype=bool)
    jacobian = np.einsum("rij,jd->rjid", on, x).reshape(r, n, -1)
    return np.linalg.matrix_rank(jacobian) == n


def check(
    examples: Annotated[int, "Examples n."] = 20,
    inputs: Annotated[int, "Inputs d0."] = 3,
    max_width: Annotated[int | None, "Greatest width d1. Default: enough for most."] = None,
    regions: Annotated[int, "Regions drawn at each width."] = 300,
    seed: Annotated[int, "Of the examples and the regions."] = 0,
) -> Finding:
    """Draw regions at each width, by count and by volume, and take the ranks of their Jacobians.

    By count: each non-empty region is as likely as another, since a region is one realizable
    pattern for each unit. By volume: as likely as a normal W falls into it.

    Args:
        examples: n.
        inputs: d0.
        max_width: the greatest d1; by default 4 n/d0 or 4 log2 n, whichever is more.
        regions: drawn at each width.
        seed: of examples and regions.

    Returns:
        Whether no region with d0·d1 < n has full rank, the patterns are as many as Cover's formula
        says, and at the greatest width at least 90 % of the regions have full rank, by count. The
        share by volume depends on how close to one another examples lie: it is reported.

    Raises:
        InputError: if a number is not positive, examples are fewer than inputs, or patterns are
            too many to list.

    Example:
        >>> check(examples=8, inputs=2, regions=50).values["patterns"]
        16
    """
    least = min(examples, inputs, regions) if max_width is None else min(inputs, regions, max_width)
    if least < 1 or examples < inputs or seed < 0:
        raise InputError(
            f"expected positive numbers and as many examples as inputs or more, got {examples} "
            f"examples of {inputs} inputs, {regions} regions, width {max_width}, seed {seed}"
        )
    candidates = math.comb(examples, inputs - 1) * 2**inputs
    if candidates > _MOST_CANDIDATES:
        raise InputError(
            f"expected at most {_MOST_CANDIDATES} cones to look at, got {candidates}: take fewer "
            "examples or inputs"
        )
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((examples, inputs))
    patterns = realizable_patterns(x)
    last = max_width or math.ceil(4 * max(examples / inputs, math.log2(examples)))
    widths = list(range(1, last + 1))
    by_count, by_volume, no_dark = [], [], []
    for width in widths:
        drawn = patterns[rng.integers(len(patterns), size=(regions, width))]
        by_count.append(float(full_rank(x, drawn).mean()))
        no_dark.append(float(np.all(drawn.any(axis=1), axis=1).mean()))
        normal = rng.standard_normal((regions, width, inputs)) @ x.T > 0
        by_volume.append(float(full_rank(x, normal).mean()))
    needed = math.ceil(examples / inputs)
    too_narrow = [by_count[i] + by_volume[i] for i, d1 in enumerate(widths) if d1 < needed]
    expected = pattern_count(examples, inputs)
    most = next((d1 for d1, share in zip(widths, by_count, strict=True) if share >= _MOST), None)
    return Finding(
        holds=not any(too_narrow) and len(patterns) == expected and by_count[-1] >= _MOST,
        sentence=(
            f"{examples} examples of {inputs} inputs: of {regions} regions at width {last} "
            f"{by_count[-1]:.1%} by count and {by_volume[-1]:.1%} by volume have a Jacobian of "
            f"full rank, none below width {needed}; 90 % by count are reached at "
            f"{'no width' if most is None else f'width {most}'}."
        ),
        values={
            "examples": examples,
            "inputs": inputs,
            "regions": regions,
            "patterns": len(patterns),
            "patterns_expected": expected,
            "width_needed": needed,
            "width_of_most": most,
            "widths": widths,
            "share_by_count": by_count,
            "share_by_volume": by_volume,
            "share_without_dark_examples": no_dark,
        },
        charts=(
            Chart(
                title=f"Regions with a Jacobian of full rank, n = {examples}, d0 = {inputs}",
                x_label="width d1",
                y_label="share of regions",
                series=tuple(
                    Series(label=label, x=tuple(map(float, widths)), y=tuple(shares))
                    for label, shares in (
                        ("full rank, by count", by_count),
                        ("full rank, by volume", by_volume),
                        ("a unit on at every example, by count", no_dark),
                    )
                ),
            ),
        ),
    )


KARHADKAR_2023 = Statement(
    name="karhadkar-2023",
    source="Karhadkar, Murray, Tseran & Montúfar 2023",
    claim="In most activation regions of a mildly wide two-layer relu network the Jacobian has "
    "full rank, so that there is no bad local minimum inside; in none below the width n/d0.",
    check=check,
)
