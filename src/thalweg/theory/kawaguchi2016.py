"""Critical points of deep linear networks (Kawaguchi 2016, Theorem 2.3).

For F(W) = ½‖W_{H+1} ⋯ W_1 X − Y‖² with X Xᵀ and X Yᵀ of full rank, d_y <= d_x and distinct
eigenvalues of Σ = Y Xᵀ (X Xᵀ)⁻¹ X Yᵀ: every local minimum is global, every other critical point is
a saddle, and its Hessian has a negative eigenvalue if W_H ⋯ W_2 has the rank p of the narrowest
layer. Critical points are found here by a Levenberg-Marquardt search for zeros of the gradient,
which is drawn to saddles as much as to minima, and each is held against the theorem. From two
hidden layers on, there are saddles whose Hessian has no negative eigenvalue: the network that maps
to the leading r < p directions of the regression and is zero otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from thalweg.errors import InputError
from thalweg.theory.linear_critical import (
    Array,
    LinearProblem,
    Weights,
    find_critical_points,
    flatten,
    lowest_nearby,
    middle_rank,
)
from thalweg.theory.statement import Chart, Finding, Series, Statement

GRADIENT_TOLERANCE = 1e-10
# In units of the greatest eigenvalue of the Hessian, and of the objective at zero.
_NEGATIVE = 1e-6
_ABOVE = 1e-7
_SAMPLES = 20
_MOST_HIDDEN = 4


@dataclass(frozen=True)
class _Points:
    """Critical points, and what the theorem speaks of.

    Attributes:
        weights: one array `[r, out, in]` a layer, the first layer first.
        excess: `[r]`, F above its global minimum, in units of F at zero.
        gradients: `[r]`, norms.
        curvature: `[r]`, the Hessian's least eigenvalue in units of its greatest.
        full: `[r]`, whether W_H ⋯ W_2 has rank p.
    """

    weights: Weights
    excess: Array
    gradients: Array
    curvature: Array
    full: np.ndarray[Any, np.dtype[np.bool_]]

    @property
    def above(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """`[r]`, whether a point is not a global minimum."""
        return self.excess > _ABOVE

    @property
    def flat(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """`[r]`, whether there is no negative curvature."""
        return self.curvature >= -_NEGATIVE


def random_problem(
    inputs: int, outputs: int, hidden: int, width: int, *, seed: int
) -> LinearProblem:
    """A regression with normal data that meets the theorem's assumptions with probability one.

    Args:
        inputs: d_x.
        outputs: d_y, at most as many.
        hidden: H, layers between input and output.
        width: of each of them.
        seed: of the data.

    Returns:
        The problem.

    Example:
        >>> random_problem(4, 3, 2, 2, seed=0).rank
        2
    """
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((inputs, inputs + _SAMPLES))
    y = rng.standard_normal((outputs, inputs)) @ x + rng.standard_normal((outputs, x.shape[1]))
    return LinearProblem(x=x, y=y, widths=(inputs, *[width] * hidden, outputs))


def flat_saddles(problem: LinearProblem) -> Weights:
    """The critical points that map to the leading r directions, for each r below the greatest rank.

    With U_r the leading r eigenvectors of Σ and B the regression of Y on X, the first layer is
    U_rᵀ B, the last one U_r, each layer between the identity on r units; all else is zero.

    Args:
        problem: the problem.

    Returns:
        One array `[rank, out, in]` a layer.
    """
    p = problem.rank
    leading = problem.leading
    layers = []
    for layer, (columns, rows) in enumerate(
        zip(problem.widths[:-1], problem.widths[1:], strict=True)
    ):
        stack = np.zeros((p, rows, columns))
        for r in range(p):
            if layer == 0:
                stack[r, :r] = leading[:, :r].T @ problem.regression
            elif layer == len(problem.widths) - 2:
                stack[r, :, :r] = leading[:, :r]
            else:
                stack[r, range(r), range(r)] = 1
        layers.append(stack)
    return tuple(layers)


def check(
    hidden: Annotated[int, "Hidden layers."] = 2,
    width: Annotated[int, "Units of each hidden layer."] = 2,
    inputs: Annotated[int, "Inputs."] = 4,
    outputs: Annotated[int, "Outputs, at most as many as inputs."] = 3,
    starts: Annotated[int, "Random points from which critical points are searched."] = 200,
    seed: Annotated[int, "Of the data and the starts."] = 0,
) -> Finding:
    """Search for critical points, and hold each against the theorem.

    Args:
        hidden: layers.
        width: of each hidden layer.
        inputs: of the network.
        outputs: of the network.
        starts: of the search.
        seed: of data and starts.

    Returns:
        Whether critical points were found, each of them is a global minimum or has lower values
        arbitrarily near, each with W_H ⋯ W_2 of full rank is a global minimum or has a negative
        eigenvalue, and the saddles of :func:`flat_saddles` have one for one hidden layer only.

    Raises:
        InputError: if a number is not positive or too large, or outputs are more than inputs.

    Example:
        >>> check(hidden=1, starts=50).values["violations"]
        0
    """
    if min(hidden, width, inputs, outputs, starts) < 1 or outputs > inputs or seed < 0:
        raise InputError(
            f"expected positive numbers, and at most as many outputs as inputs, got {hidden} "
            f"hidden layers of {width}, {inputs} inputs, {outputs} outputs, {starts} starts and "
            f"seed {seed}"
        )
    if hidden > _MOST_HIDDEN:
        raise InputError(
            f"expected at most {_MOST_HIDDEN} hidden layers, got {hidden}: with more of them the "
            "differences of values near a flat saddle vanish in rounding"
        )
    problem = random_problem(inputs, outputs, hidden, width, seed=seed)
    if not problem.assumptions_hold:
        raise InputError("expected data that meet the theorem's assumptions: take another seed")
    rng = np.random.default_rng([seed, 1])
    found = find_critical_points(problem, starts, rng)
    points = _classify(problem, found)
    converged = points.gradients <= GRADIENT_TOLERANCE * problem.scale
    saddles = converged & points.above
    violations = saddles & points.full & points.flat
    deficient = saddles & points.flat & ~points.full
    lower = [_descends(problem, _take(found, i), rng) for i in np.flatnonzero(deficient)]
    built = flat_saddles(problem)
    special = _classify(problem, built)
    # A negative eigenvalue needs no search.
    special_lower = [
        not special.flat[r] or _descends(problem, _take(built, r), rng) for r in range(problem.rank)
    ]
    # One hidden layer: the condition always holds. More: these are the counterexamples.
    as_said = (
        (special.flat == (hidden > 1))
        & special.above
        & (special.gradients <= GRADIENT_TOLERANCE * problem.scale)
    )
    values = {
        "hidden": hidden,
        "widths": list(problem.widths),
        "starts": starts,
        "critical_points": int(converged.sum()),
        "global_minima": int((converged & ~points.above).sum()),
        "saddles": int(saddles.sum()),
        "saddles_of_full_rank": int((saddles & points.full).sum()),
        "saddles_with_negative_curvature": int((saddles & ~points.flat).sum()),
        "violations": int(violations.sum()),
        "flat_saddles_found": int(deficient.sum()),
        "flat_saddles_with_lower_values_nearby": sum(lower),
        "constructed_ranks": list(range(problem.rank)),
        "constructed_excess": special.excess.tolist(),
        "constructed_gradient_norms": special.gradients.tolist(),
        "constructed_least_eigenvalues": special.curvature.tolist(),
        "constructed_lower_nearby": special_lower,
    }
    return Finding(
        holds=bool(
            converged.any()
            and not violations.any()
            and all(lower)
            and all(special_lower)
            and as_said.all()
        ),
        sentence=(
            f"{hidden} hidden layers: {values['critical_points']} critical points found from "
            f"{starts} starts, {values['global_minima']} of them global minima; of "
            f"{values['saddles_of_full_rank']} saddles with W_H ⋯ W_2 of full rank "
            f"{values['violations']} lack a negative eigenvalue. Of {problem.rank} points of "
            f"lower rank that were built, {int(special.flat.sum())} have none."
        ),
        values=values,
        charts=(_chart(hidden, points, converged, special),),
    )


def _classify(problem: LinearProblem, weights: Weights) -> _Points:
    eigenvalues = np.linalg.eigvalsh(problem.hessian(weights))
    greatest = np.abs(eigenvalues).max(axis=1)
    # Where everything is zero so is the Hessian: that is no curvature, not an undefined one.
    curvature = eigenvalues[:, 0] / np.maximum(greatest, problem.scale * 1e-12)
    return _Points(
        weights=weights,
        excess=(problem.value(weights) - problem.least) / problem.scale,
        gradients=np.linalg.norm(flatten(problem.gradient(weights)), axis=1),
        curvature=curvature,
        full=middle_rank(weights) == problem.bottleneck,
    )


def _take(weights: Weights, i: int | np.intp) -> Weights:
    return tuple(layer[i : i + 1] for layer in weights)


def _descends(problem: LinearProblem, point: Weights, rng: np.random.Generator) -> bool:
    """Whether F has lower values near a flat point, at each of several distances."""
    here = float(problem.value(point)[0])
    reach = math.sqrt(sum(float((layer**2).sum()) for layer in point)) + 1
    return all(
        lowest_nearby(problem, point, distance * reach, rng) < here - 1e-13 * problem.scale
        for distance in (0.2, 0.1, 0.05)
    )


def _chart(
    hidden: int,
    points: _Points,
    converged: np.ndarray[Any, np.dtype[np.bool_]],
    special: _Points,
) -> Chart:
    def series(label: str, x: Sequence[float], y: Sequence[float]) -> Series:
        return Series(label=label, x=tuple(x), y=tuple(y), points=True)

    groups = (
        ("rank of W_H ⋯ W_2 full", converged & points.full),
        ("rank deficient", converged & ~points.full),
    )
    found = [
        series(label, points.excess[chosen].tolist(), points.curvature[chosen].tolist())
        for label, chosen in groups
    ]
    built = series("constructed", special.excess.tolist(), special.curvature.tolist())
    return Chart(
        title=f"Critical points found, {hidden} hidden layers",
        x_label="F above its minimum, in units of F(0)",
        y_label="least eigenvalue, in units of the greatest",
        series=(*found, built),
    )


KAWAGUCHI_23 = Statement(
    name="kawaguchi-2.3",
    source="Kawaguchi 2016, Theorem 2.3",
    claim="Every critical point of a deep linear network is a global minimum or a saddle, and the "
    "Hessian at a saddle has a negative eigenvalue if W_H ⋯ W_2 has full rank; with more than one "
    "hidden layer there are saddles of lower rank where it has none.",
    check=check,
)
