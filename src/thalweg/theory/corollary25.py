"""Corollary 2.5: how ε of Theorem 2.4 falls with the number of units.

Freeman & Bruna 2017, Corollary 2.5: "as m increases, the energy gap ε satisfies ε = O(m^(-1/n))",
for inputs of dimension n. The proof covers the sphere by caps, finds one that holds `l = m^η` of m
units, all at angles of order `m^((η - 1)/n)` from each other, and gives these up one by one, at a
cost of order `m^η m^((η - 1)/n)`, for an `η < 1/(n + 1)`.

**What the proof gives.** `ε - e(∞)` is at most the sum of that cost, whose exponent comes close to
`-1/n` only for η close to zero, and of `e(m^η) - e(∞)`, which goes to zero only for η above zero
and then as slowly as `e` does at `m^η`. The exponent printed is that of the first term alone, in a
limit in which the second one does not vanish. And with κ > 0 the bound tends to `e(∞) > 0`, not to
zero: here `e(∞)` is subtracted.

**What is measured.** On a sample, for networks of m random units: ε with the l and α of the proof,
ε with the best of a few l and no turning of units, and the true height of the latter's path,
each over the least F found with any number of units. Slopes are fitted on logarithmic axes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from thalweg.errors import InputError
from thalweg.theory.linear import Matrix, parse_widths
from thalweg.theory.six_parts import connect, height
from thalweg.theory.sparse_fits import Problem, oracle
from thalweg.theory.statement import Chart, Finding, Series, Statement
from thalweg.theory.theorem24 import best_path, directions, draw_network, draw_problem

_DICTIONARY = 600
_SHARES = (0.25, 0.5)


@dataclass(frozen=True)
class Gaps:
    """Means over pairs of networks, over e(∞).

    Attributes:
        proof: ε with the l and α of the proof.
        best: ε with the best l and without turning.
        true: the height of the latter's path, or λ where that is larger.
    """

    proof: float
    best: float
    true: float


def measure(
    problem: Problem, units: int, pairs: int, rng: np.random.Generator
) -> tuple[list[float], list[float], list[float], float]:
    """Bounds and heights for pairs of random networks.

    Args:
        problem: data and κ.
        units: m.
        pairs: of networks.
        rng: source of randomness.

    Returns:
        For every pair: ε of the proof, the best ε, the height of its path between the lassos of
        both networks; and the least F found on the way.
    """
    n = problem.x.shape[1]
    eta = 0.5 / (n + 1)  # half of what the proof allows
    few, alpha = max(1, round(units**eta)), min(1.0, units ** ((eta - 1) / n))
    pool = directions(_DICTIONARY, n, rng)
    proof, best, true, least = [], [], [], np.inf
    for _ in range(pairs):
        a, b = (problem.lasso(draw_network(problem, units, rng).w) for _ in range(2))
        small = connect(problem, a, b, oracle(problem, few, pool), alpha)
        terms = sorted({max(1, int(share * units)) for share in _SHARES})
        path, _, _ = best_path(problem, a, b, terms, [0.0], pool)
        proof.append(small.epsilon)
        best.append(path.epsilon)
        true.append(height(problem, path).seen)
        least = min(least, path.oracle, *path.lassos)
    return proof, best, true, float(least)


def slope(x: Matrix, y: Matrix) -> float:
    """The exponent of a power law, by least squares on logarithms.

    Example:
        >>> round(slope(np.array([1.0, 2, 4]), np.array([3.0, 1.5, 0.75])), 12)
        -1.0
    """
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def check(
    inputs: Annotated[str, "Dimensions of the inputs, between commas."] = "2,3,5",
    units: Annotated[str, "Values of m, between commas."] = "8,16,32,64",
    pairs: Annotated[int, "Of random networks for each."] = 2,
    examples: Annotated[int, "Of the sample."] = 150,
    kappa: Annotated[float, "κ, the weight of the l1 norm."] = 1e-3,
    seed: Annotated[int, "Of data and networks."] = 0,
) -> Finding:
    """Measure ε against m.

    Args:
        inputs: dimensions n.
        units: values of m, at least three of them, from 4.
        pairs: of networks.
        examples: of the sample.
        kappa: κ.
        seed: of all that is drawn.

    Returns:
        Whether no path was above its bound, and the best ε falls as m grows at least as fast as
        `m^(-1/n)` for every n.

    Raises:
        InputError: if these are no such numbers.
    """
    dimensions, sizes = parse_widths(inputs + ",2"), parse_widths(units)
    if dimensions is None or min(dimensions) < 2 or sizes is None or len(sizes) < 3:
        raise InputError(
            "expected dimensions of at least 2 and three or more numbers of units up to 64 between "
            f"commas, got {inputs!r} and {units!r}"
        )
    if min(sizes) < 4 or min(pairs, examples) < 1 or not 0 < kappa < np.inf:
        raise InputError(
            "expected at least 4 units, a pair, an example and a κ > 0, got "
            f"{min(sizes)}, {pairs}, {examples} and {kappa}"
        )
    table = {n: _gaps(n, sizes, pairs, examples, kappa, seed) for n in dimensions[:-1]}
    m = np.array(sizes, dtype=float)
    slopes = {
        kind: [slope(m, np.array([getattr(gaps, kind) for gaps in row])) for row in table.values()]
        for kind in ("proof", "best", "true")
    }
    sound = all(
        gaps.true <= gaps.best * (1 + 1e-9) + 1e-12 for row in table.values() for gaps in row
    )
    fast = all(s <= -1 / n for n, s in zip(table, slopes["best"], strict=True))
    return Finding(
        holds=bool(sound and fast),
        sentence="Exponents of ε - e(∞) in m: "
        + "; ".join(
            f"n = {n}: {s:.2f} (predicted -1/n = {-1 / n:.2f}; with the proof's l and α {p:.2f})"
            for n, s, p in zip(table, slopes["best"], slopes["proof"], strict=True)
        )
        + ".",
        values={
            "inputs": list(table),
            "units": list(sizes),
            "predicted_exponents": [-1 / n for n in table],
            "exponents_of_epsilon": slopes["best"],
            "exponents_of_epsilon_as_in_the_proof": slopes["proof"],
            "exponents_of_the_true_height": slopes["true"],
            "epsilon": [[gaps.best for gaps in row] for row in table.values()],
            "epsilon_as_in_the_proof": [[gaps.proof for gaps in row] for row in table.values()],
            "true_height": [[gaps.true for gaps in row] for row in table.values()],
        },
        charts=(
            _chart("Best of a few l, no turning", m, table, "best"),
            _chart("l and α of the proof", m, table, "proof"),
        ),
    )


def _gaps(
    n: int, sizes: tuple[int, ...], pairs: int, examples: int, kappa: float, seed: int
) -> list[Gaps]:
    rng = np.random.default_rng((seed, n))
    problem = draw_problem(n, examples, kappa, rng)
    found = [measure(problem, m, pairs, rng) for m in sizes]
    infinite = problem(problem.lasso(directions(_DICTIONARY, n, rng)))
    infinite = min(infinite, *(least for *_, least in found))
    return [
        Gaps(*(float(np.mean(values)) - infinite for values in (proof, best, true)))
        for proof, best, true, _ in found
    ]


def _chart(title: str, m: Matrix, table: dict[int, list[Gaps]], kind: str) -> Chart:
    series = []
    for n, row in table.items():
        y = np.array([getattr(gaps, kind) for gaps in row])
        anchor = y[0] * (m / m[0]) ** (-1 / n)
        for label, values, points in ((f"n = {n}", y, True), (f"m^(-1/{n})", anchor, False)):
            series.append(Series(
                label=label, x=tuple(map(float, m)), y=tuple(map(float, values)), points=points,
            ))  # fmt: skip
    return Chart(
        title=title, x_label="hidden units m", y_label="ε − e(∞)", series=tuple(series),
        log_x=True, log_y=True,
    )  # fmt: skip


COROLLARY_25 = Statement(
    name="corollary-2.5",
    source="Freeman & Bruna 2017, Corollary 2.5",
    claim="The bound ε of Theorem 2.4 falls with the number of units m at least as fast as "
    "m^(-1/n), n the dimension of the inputs, towards its limit.",
    check=check,
)
