"""Distance from the initialization to the minimum found, against width (the NTK regime).

A network f(x) = m^(-1/2) Σ_r a_r relu(w_r·x) with fixed a_r = ±1 and normal w_r learns n examples
of norm one by gradient descent on ½‖f − y‖². The wider it is, the less it has to move: the total
distance tends to that of its linearization at the start, √((y − f₀)ᵀ H⁻¹ (y − f₀)), and that to a
limit, while each unit moves by the order of m^(-1/2), as Du et al. 2019 bound it:
‖w_r − w_r(0)‖ <= 4 √n ‖y − f₀‖ / (√m λ₀), with λ₀ the least eigenvalue of H^∞.

Units start in pairs of the same w_r and opposite a_r, so that f₀ = 0 (Chizat, Oyallon & Bach 2019):
otherwise the distances of two widths differ by the luck of f₀ as much as by width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from thalweg.errors import InputError
from thalweg.theory.statement import Chart, Finding, Series, Statement

Array = NDArray[np.float64]

# Of the initial loss, at which a network has learnt the examples.
TOLERANCE = 1e-8
_FIRST_WIDTH = 16
_SLOPE_BAND = 0.1
_LINEAR_BAND = 0.1


@dataclass(frozen=True)
class _Run:
    """How far one network moved.

    Attributes:
        distance: ‖W − W₀‖.
        relative: the same over ‖W₀‖.
        greatest: the greatest distance of one unit.
        bound: Du et al.'s for it.
        linear: the distance that the linearization at the start would move.
        switched: share of the pairs of unit and example that changed between on and off.
        learnt: whether the loss fell to its tolerance.
    """

    distance: float
    relative: float
    greatest: float
    bound: float
    linear: float
    switched: float
    learnt: bool


def limit_kernel(x: Array) -> Array:
    """H^∞, the mean of the kernel of the derivatives over normal weights (Du et al. 2019, Eq. 4).

    Args:
        x: `[n, d]`, rows of norm one.

    Returns:
        `[n, n]`, with entries x_i·x_j (π − arccos(x_i·x_j)) / 2π.

    Example:
        >>> limit_kernel(np.eye(2)).tolist()
        [[0.5, 0.0], [0.0, 0.5]]
    """
    inner = np.clip(x @ x.T, -1, 1)
    np.fill_diagonal(inner, 1.0)
    return inner * (math.pi - np.arccos(inner)) / (2 * math.pi)


def kernel(x: Array, weights: Array) -> Array:
    """The kernel of the derivatives of f at one network.

    Args:
        x: `[n, d]`.
        weights: `[m, d]`.

    Returns:
        `[n, n]`.
    """
    on = (x @ weights.T > 0).astype(float)
    return (x @ x.T) * (on @ on.T) / len(weights)


def paired_units(m: int, d: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Normal units, each followed by its opposite.

    Args:
        m: units, an even number.
        d: inputs.
        rng: of the draw.

    Returns:
        Weights `[m, d]` and signs `[m]` of a network that is zero everywhere.

    Example:
        >>> weights, signs = paired_units(4, 2, np.random.default_rng(0))
        >>> signs.tolist()
        [1.0, -1.0, 1.0, -1.0]
    """
    weights = np.repeat(rng.standard_normal((m // 2, d)), 2, axis=0)
    return weights, np.tile([1.0, -1.0], m // 2)


def learn(x: Array, y: Array, weights: Array, signs: Array, *, max_steps: int) -> _Run:
    """Train one network by gradient descent, and measure how far it moved.

    Args:
        x: `[n, d]`, rows of norm one.
        y: `[n]`.
        weights: `[m, d]` at the start.
        signs: `[m]`, a_r.
        max_steps: of gradient descent.

    Returns:
        The distances.
    """
    m = len(weights)
    outer = signs / math.sqrt(m)
    start = kernel(x, weights)
    step = 1 / float(np.linalg.eigvalsh(start)[-1])
    residual = np.maximum(x @ weights.T, 0) @ outer - y
    first = float(residual @ residual)
    least = float(np.linalg.eigvalsh(limit_kernel(x))[0])
    bound = 4 * math.sqrt(len(y) * first) / (math.sqrt(m) * least)
    linear = math.sqrt(float(residual @ np.linalg.lstsq(start, residual)[0]))
    now = weights
    for _ in range(max_steps):
        hidden = x @ now.T
        residual = np.maximum(hidden, 0) @ outer - y
        if residual @ residual <= TOLERANCE * first:
            break
        now = now - step * ((hidden > 0) * residual[:, None] * outer).T @ x
    moved = now - weights
    return _Run(
        distance=float(np.linalg.norm(moved)),
        relative=float(np.linalg.norm(moved) / np.linalg.norm(weights)),
        greatest=float(np.linalg.norm(moved, axis=1).max()),
        bound=bound,
        linear=linear,
        switched=float(((x @ now.T > 0) != (x @ weights.T > 0)).mean()),
        learnt=bool(residual @ residual <= TOLERANCE * first),
    )


def check(
    examples: Annotated[int, "Examples n, with random targets ±1."] = 10,
    inputs: Annotated[int, "Inputs d."] = 10,
    max_width: Annotated[int, "Greatest width; the widths are powers of 2 from 16."] = 4096,
    networks: Annotated[int, "Networks at each width."] = 5,
    seed: Annotated[int, "Of the examples and the networks."] = 0,
    max_steps: Annotated[int, "Of gradient descent."] = 20_000,
) -> Finding:
    """Train networks of growing width, and compare how far they move.

    Args:
        examples: n.
        inputs: d.
        max_width: the greatest width.
        networks: at each width.
        seed: of examples and networks.
        max_steps: of gradient descent.

    Returns:
        Whether all networks learnt, no unit moved further than Du et al.'s bound, the greatest
        move of a unit and the relative distance fall like the width to the power −½ (fitted over
        the upper half of the widths, within .1), and the distance at the greatest width is that of
        the linearization within 10 %.

    Raises:
        InputError: if a number is not positive, or there are not four widths.

    Example:
        >>> check(examples=4, max_width=128, networks=2).values["all_learnt"]
        True
    """
    if min(examples, inputs, networks, max_steps, seed + 1) < 1 or max_width < 8 * _FIRST_WIDTH:
        raise InputError(
            f"expected positive numbers and a greatest width of at least {8 * _FIRST_WIDTH}, got "
            f"{examples} examples, {inputs} inputs, {networks} networks, {max_steps} steps, "
            f"width {max_width} and seed {seed}"
        )
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((examples, inputs))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    y = rng.choice([-1.0, 1.0], size=examples)
    widths = [2**e for e in range(4, max_width.bit_length()) if 2**e <= max_width]
    runs = [
        [learn(x, y, *paired_units(m, inputs, rng), max_steps=max_steps) for _ in range(networks)]
        for m in widths
    ]

    def mean(name: str) -> list[float]:
        return [float(np.mean([getattr(run, name) for run in group])) for group in runs]

    distance, linear, relative = mean("distance"), mean("linear"), mean("relative")
    greatest, bound, switched = mean("greatest"), mean("bound"), mean("switched")
    learnt = all(run.learnt for group in runs for run in group)
    bounded = all(run.greatest <= run.bound for group in runs for run in group)
    limit = math.sqrt(float(y @ np.linalg.solve(limit_kernel(x), y)))
    exponents = [_exponent(widths, each) for each in (greatest, relative)]
    ratio = distance[-1] / linear[-1]
    return Finding(
        holds=learnt
        and bounded
        and all(abs(exponent + 0.5) <= _SLOPE_BAND for exponent in exponents)
        and abs(ratio - 1) <= _LINEAR_BAND,
        sentence=(
            f"{examples} examples: from width {widths[0]} to {widths[-1]} the distance goes from "
            f"{distance[0]:.3g} to {distance[-1]:.3g} ({ratio:.3f} times the linearization's), "
            f"the greatest move of a unit like the width to the power {exponents[0]:.2f}."
        ),
        values={
            "examples": examples,
            "inputs": inputs,
            "networks": networks,
            "all_learnt": learnt,
            "within_bound": bounded,
            "exponent_of_greatest_move": exponents[0],
            "exponent_of_relative_distance": exponents[1],
            "distance_over_linear": ratio,
            "limit_of_distance": limit,
            "widths": widths,
            "distance": distance,
            "linear_distance": linear,
            "relative_distance": relative,
            "greatest_move": greatest,
            "bound_of_greatest_move": bound,
            "switched": switched,
        },
        charts=(
            _chart("Distance to the minimum found", "Euclidean norm", widths, {
                "distance": distance, "linearization at the start": linear,
                "limit": [limit] * len(widths),
            }),
            _chart("Moves that vanish with width", "Euclidean norm, or share", widths, {
                "greatest move of a unit": greatest, "relative distance": relative,
                "units that switched": switched,
            }, log=True),
        ),
    )  # fmt: skip


def _exponent(widths: list[int], values: list[float]) -> float:
    """Slope on log axes over the upper half of the widths."""
    upper = len(widths) // 2
    return float(np.polyfit(np.log(widths[upper:]), np.log(values[upper:]), 1)[0])


def _chart(
    title: str, label: str, widths: list[int], values: dict[str, list[float]], *, log: bool = False
) -> Chart:
    return Chart(
        title=title,
        x_label="width m",
        y_label=label,
        log_x=True,
        log_y=log,
        series=tuple(
            Series(label=name, x=tuple(map(float, widths)), y=tuple(y))
            for name, y in values.items()
        ),
    )


NTK_DISTANCE = Statement(
    name="ntk-distance",
    source="Jacot, Gabriel & Hongler 2018; Du, Zhai, Póczos & Singh 2019, Theorem 3.1",
    claim="The wider a two-layer relu network, the nearer to its initialization lies the minimum "
    "that gradient descent finds: units move like width^(-1/2), all of them together by the "
    "distance of the linearization.",
    check=check,
)
