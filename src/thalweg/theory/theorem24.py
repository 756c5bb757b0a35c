"""Theorem 2.4: a path between any two relu networks of one hidden layer, and how high it is.

Freeman & Bruna 2017, Theorem 2.4 and Appendix B.4, for the empirical measure (the expectations are
means over a sample), scalar outputs. F, δ and e are those of :mod:`thalweg.theory.sparse_fits`.
Given l and α, the path has six parts:

1. from θA to the lasso of its own units: F is convex in the second layer;
2. to a fit that uses `m - l` units, each turned by up to α: both layers move;
3. the l units that are free now become those of the best l-term fit, at no cost, and the second
   layer moves to it: convex;
4. to 6. the same for θB, backwards.

Between 3 and 4 the l units have to change places, since those free on the side of A are not those
free on the side of B: they are copied to the free places and the output weights handed over, which
changes neither the function nor |β|_1. (The paper passes over it.)

**The height.** All parts but 2 and 5 are at most as high as their ends. With
`f(t) = η2(t) Z(η1(t))` the network on part 2 and `g(t) = (1 - t) β Z(W) + t γ Z(W~)`, F of g is
convex in t, and per unit

    f_i - g_i = (1 - t) β_i (z(η1_i) - z(w_i)) + t γ_i (z(η1_i) - z(w~_i)),
    |f_i - g_i| <= t (1 - t) (|β_i| + |γ_i|) |<w~_i - w_i, x>|.

With `ν = 1/4 sum_i (|β_i| + |γ_i|) sqrt(E <w~_i - w_i, X>²)` and r the root of the larger end, F of
f exceeds that end by at most `2 r ν + ν²`. For `|w_i| = 1` this is at most `C1 α + O(α²)` with
`C1 = r sqrt(|Σ|) (|β|_1 + |γ|_1) / 2`, and `|β|_1 <= F / κ`. Together, with `x` the excess,

    max F <= max(λ, ε),    ε = max(e(l), δ_A(m, 0), δ_A(m - l, α) + x_A, and the same for B).

**Where the paper is loose.** It bounds `f_i - g_i` by a multiple of `|η2(t)_i|` (below Eq. 22).
This fails where β_i and γ_i have opposite signs: η2 vanishes on the way, the difference does not.
With `|β_i| + |γ_i|` the argument holds, with another constant.

**The true height** is exact but for a stated gap: convex and constant parts have it at their ends;
on parts 2 and 5 the mean squared error is a piecewise quartic, whose maximum is known
(:mod:`thalweg.certify.exact`), and |β|_1 lies below its chord.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np

from thalweg.errors import InputError
from thalweg.theory.linear import Matrix
from thalweg.theory.six_parts import SixParts, at, connect, height
from thalweg.theory.sparse_fits import Fit, Problem, oracle
from thalweg.theory.statement import Chart, Finding, Series, Statement

_POOL = 400
_POINTS = 21
# Tried where l or α are to be chosen.
_SHARES = (0.25, 0.5)
_ANGLES = (0.0, 0.1)


def draw_problem(inputs: int, examples: int, kappa: float, rng: np.random.Generator) -> Problem:
    """Inputs on the sphere, and a polynomial of degree two of them as target.

    Args:
        inputs: their dimension.
        examples: drawn.
        kappa: κ.
        rng: source of randomness.

    Returns:
        The problem.
    """
    x = directions(examples, inputs, rng)
    return Problem(x, 2 * x[:, 0] * x[:, 1] + x[:, 0], kappa)


def directions(count: int, dimension: int, rng: np.random.Generator) -> Matrix:
    """Unit vectors, uniformly distributed, `[count, dimension]`."""
    drawn = rng.normal(size=(count, dimension))
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def draw_network(problem: Problem, units: int, rng: np.random.Generator) -> Fit:
    """Random units, and output weights by ridge regression: all of them are used."""
    w = directions(units, problem.x.shape[1], rng)
    z = problem.features(w)
    gram = z.T @ z / len(z) + problem.kappa * np.eye(units)
    return Fit(w, np.linalg.solve(gram, z.T @ problem.y / len(z)))


def best_path(
    problem: Problem, a: Fit, b: Fit, terms: list[int], angles: list[float], pool: Matrix
) -> tuple[SixParts, int, float]:
    """The path of least bound over l and α.

    Args:
        problem: data and κ.
        a: one network.
        b: the other.
        terms: values of l to try.
        angles: values of α to try.
        pool: directions for the l-term fits to begin with.

    Returns:
        The path, its l and its α.
    """
    found = []
    for l_terms in terms:
        best = oracle(problem, l_terms, pool)
        found += [(connect(problem, a, b, best, alpha), l_terms, alpha) for alpha in angles]
    return min(found, key=lambda each: each[0].epsilon)


def check(
    units: Annotated[int, "m, hidden units of both networks."] = 24,
    inputs: Annotated[int, "Dimension of the inputs, on the sphere."] = 3,
    examples: Annotated[int, "Of the sample."] = 200,
    kappa: Annotated[float, "κ, the weight of the l1 norm."] = 1e-3,
    terms: Annotated[int, "l; 0: the best of a few."] = 0,
    alpha: Annotated[float, "α in radians; negative: the best of a few."] = -1.0,
    seed: Annotated[int, "Of data and networks."] = 0,
) -> Finding:
    """Build the path between two random networks, and hold its height against ε.

    Args:
        units: at least 4.
        inputs: at least 2.
        examples: of the sample.
        kappa: positive.
        terms: l, at most m.
        alpha: α.
        seed: of all that is drawn.

    Returns:
        Whether the path is connected and nowhere above max(λ, ε).

    Raises:
        InputError: if a number is out of range.

    Example:
        >>> check(units=8, examples=60, terms=4, alpha=0.2).holds
        True
    """
    if units < 4 or inputs < 2 or examples < 2 or not 0 <= terms <= units:
        raise InputError(
            "expected at least 4 units, 2 inputs, 2 examples and from 0 to as many terms as units, "
            f"got {units}, {inputs}, {examples} and {terms}"
        )
    if not (0 < kappa < np.inf and alpha <= np.pi / 2):
        raise InputError(
            f"expected a κ > 0 and an angle of up to π/2, got {kappa} and {alpha}: change them"
        )
    rng = np.random.default_rng(seed)
    problem = draw_problem(inputs, examples, kappa, rng)
    a, b = (draw_network(problem, units, rng) for _ in range(2))
    pool = np.concatenate([a.w, b.w, directions(_POOL, inputs, rng)])
    path, chosen, angle = best_path(
        problem, a, b,
        [terms] if terms else sorted({max(1, int(s * units)) for s in _SHARES}),
        [alpha] if alpha >= 0 else list(_ANGLES), pool,
    )  # fmt: skip
    highest = height(problem, path)
    level = max(path.ends)
    straight = _straight(problem, a, b)
    jumps = max(
        float(np.abs(one.end.w - two.start.w).max() + np.abs(one.end.beta - two.start.beta).max())
        for one, two in zip(path.legs, path.legs[1:], strict=False)
    )
    allowed = max(level, path.epsilon)
    holds = highest.bound <= allowed * (1 + 1e-4) and jumps == 0
    t = [k + float(s) for k in range(len(path.legs)) for s in np.linspace(0, 1, _POINTS)]
    values = [problem(at(leg, float(s))) for leg in path.legs for s in np.linspace(0, 1, _POINTS)]
    return Finding(
        holds=bool(holds),
        sentence=f"m = {units}, l = {chosen}, α = {angle:g}: the path's maximum is "
        f"{highest.seen:.6g}, in part {highest.part}; the bound max(λ, ε) is {allowed:.6g} with "
        f"λ = {level:.6g} and ε = {path.epsilon:.6g}; the straight line reaches {straight:.6g}.",
        values={
            "units": units,
            "terms": chosen,
            "alpha": angle,
            "lambda": level,
            "epsilon": path.epsilon,
            "path_maximum_seen": highest.seen,
            "path_maximum_bound": highest.bound,
            "path_maximum_in_part": highest.part,
            "straight_line_maximum_seen": straight,
            "oracle": path.oracle,
            "lasso_a": path.lassos[0],
            "lasso_b": path.lassos[1],
            "compressed_a": path.compressed[0],
            "compressed_b": path.compressed[1],
            "excess_a": path.excess[0],
            "excess_b": path.excess[1],
            "c1_alpha_a": path.linear_excess[0],
            "c1_alpha_b": path.linear_excess[1],
            "segments": len(path.legs),
        },
        charts=(
            Chart(
                title=f"The six parts for m = {units}, l = {chosen}, α = {angle:g}",
                x_label="segment of the path",
                y_label="F",
                series=(
                    Series(label="along the path", x=tuple(t), y=tuple(values)),
                    Series(label="ε", x=(0.0, t[-1]), y=(path.epsilon,) * 2),
                    Series(label="λ", x=(0.0, t[-1]), y=(level, level)),
                ),
            ),
        ),
    )


def _straight(problem: Problem, a: Fit, b: Fit) -> float:
    """The largest of values on the straight line."""
    return max(
        problem(Fit((1 - t) * a.w + t * b.w, (1 - t) * a.beta + t * b.beta))
        for t in map(float, np.linspace(0, 1, 101))
    )


THEOREM_24 = Statement(
    name="theorem-2.4",
    source="Freeman & Bruna 2017, Theorem 2.4, Appendix B.4",
    claim="Any two relu networks of one hidden layer are joined by a path of six parts along which "
    "the regularized risk is at most max(λ, ε).",
    check=check,
)
