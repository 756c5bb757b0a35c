"""Two Gaussians: bisectors that cannot be swapped.

Freeman & Bruna 2017, Section 2.3.1. Inputs of the plane come from two clusters around `μ_1` and
`μ_-1`; the target is `Y = (X - μ_Z) Z` with the hidden sign `Z` of the cluster; the network has two
relu units and no biases. θA has a unit through the centre of each cluster, θB the same two swapped.
The paper: both risks become arbitrarily small with the covariance, and on every path there is a
first layer of rank one, "which leads to an estimator with risk at least 1/2".

What holds, for isotropic clusters and in units of `Var = E|Y|²`, without which the "1/2" has no
meaning:

- A first layer of rank one sees X through one direction u. The part of Y across u is independent of
  it given Z, and has mean zero: the risk of any function of `<u, x>` is at least `Var / 2`. For the
  sample at hand, and for functions that two relu units can be, more is proved by
  :mod:`thalweg.certify.obstruction_rank`.
- The risks of both ends go to zero only because `Var` does. Relative to it, two relu units through
  the centres leave three quarters: each explains one side of its cluster in one direction.
- So the ends are disconnected, but the barrier is the step from 3/4 to 7/8 of `Var`. A path that is
  hardly higher than the bound lets go of one unit, moves it beside the other, hands the output
  weight over, and brings the first one to the place that is free now.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from thalweg.certify import NotApplicable, obstruct
from thalweg.certify.shallow import Shallow
from thalweg.errors import InputError
from thalweg.objective import Objective
from thalweg.theory.linear import Matrix
from thalweg.theory.statement import Chart, Finding, Series, Statement
from thalweg.theory.strings import highest, profile_of, relu_objective


def clusters(examples: int, spread: float, seed: int) -> tuple[Matrix, Matrix]:
    """Draw inputs and targets.

    Args:
        examples: in all, half of them from each cluster.
        spread: standard deviation; the centres are `(±1, 1)`.
        seed: of the draw.

    Returns:
        `X` and `Y`, `[examples, 2]` each.
    """
    rng = np.random.default_rng(seed)
    z = np.where(np.arange(examples) % 2, 1.0, -1.0)[:, None]
    noise = spread * rng.normal(size=(examples, 2))
    return np.hstack([z, np.ones_like(z)]) + noise, noise * z


def bisectors(objective: Objective) -> Tensor:
    """A unit through the centre of each cluster, silent on the other one, and the best `W2`."""
    shallow = Shallow.of(objective)
    w1 = np.array([[1.0, -1.0], [-1.0, -1.0]]) / np.sqrt(2)
    hidden = np.maximum(shallow.inputs @ w1.T, 0)
    w2 = np.linalg.lstsq(hidden, shallow.target, rcond=None)[0].T
    return torch.from_numpy(np.concatenate([w1.ravel(), w2.ravel()]))


def hand_over(theta: Tensor) -> list[Tensor]:
    """A path that swaps two units through a network of one.

    Args:
        theta: `[8]`: rows of `W1`, and `W2`.

    Returns:
        The vertices of a string: drop a unit's output, move it onto the other one, hand the output
        weight over, move that one to the free place, give it the output back.
    """
    w1, w2 = theta[:4].reshape(2, 2), theta[4:].reshape(2, 2)
    (a, b), (c, d) = w1, w2.T
    zero = torch.zeros_like(c)
    units = [(a, b, c, d), (a, b, c, zero), (a, a, c, zero),
             (a, a, zero, c), (b, a, zero, c), (b, a, d, c)]  # fmt: skip
    return [
        torch.cat([first, second, torch.stack([one, other], dim=1).ravel()])
        for first, second, one, other in units
    ]


def check(
    examples: Annotated[int, "Drawn from the two clusters."] = 400,
    spread: Annotated[float, "Standard deviation of a cluster; the centres are 2 apart."] = 0.1,
    seed: Annotated[int, "Of the draw."] = 0,
) -> Finding:
    """Swap the two bisectors, and prove that every path is high on the way.

    Args:
        examples: at least 4.
        spread: positive.
        seed: of the draw.

    Returns:
        Whether every path is above both ends and, up to the error of the sample, above half of the
        variance.

    Raises:
        InputError: if there are too few examples or no spread.

    Example:
        >>> check(examples=100).holds
        True
    """
    if examples < 4 or not 0 < spread < np.inf:
        raise InputError(
            f"expected at least 4 examples and a spread > 0, got {examples} and {spread}"
        )
    x, y = clusters(examples, spread, seed)
    objective = relu_objective(x, y, 2)
    variance = float((y**2).mean())
    a = bisectors(objective)
    b = Shallow.of(objective).permute_hidden(a, (1, 0))
    found = obstruct(objective, a, b)
    if isinstance(found, NotApplicable):
        raise InputError(f"expected clusters that one direction does not explain: {found.reason}")
    end = float(objective.criterion_of(a[None]).values)
    handed = hand_over(a)
    straight, lowest = highest(objective, [a, b]), highest(objective, handed)
    # The mean of N squares, relative to their expectation, errs by about sqrt(2 / N).
    error = 3 * np.sqrt(2 / examples)
    shares = {
        name: value / variance
        for name, value in {
            "ends": end, "bound": found.bound, "path": lowest, "straight": straight,
        }.items()
    }  # fmt: skip
    holds = shares["bound"] >= 0.5 - error and found.bound > end and lowest >= found.bound
    curves = [
        _share(profile_of(objective, vertices, label), variance)
        for vertices, label in (([a, b], "straight"), (handed, "through one unit"))
    ]
    return Finding(
        holds=bool(holds),
        sentence=f"Every path between the two reaches {shares['bound']:.3f} of the variance of the "
        f"targets (proved) and a path through one unit {shares['path']:.3f}; "
        f"both ends have {shares['ends']:.3f}.",
        values={
            "variance": variance,
            "risk_at_the_ends": end,
            "risk_on_every_path": found.bound,
            "ends_over_variance": shares["ends"],
            "every_path_over_variance": shares["bound"],
            "path_through_one_unit_over_variance": shares["path"],
            "straight_line_over_variance": shares["straight"],
            "ends_have_small_risk_relative_to_variance": bool(shares["ends"] < 0.1),
        },
        charts=(
            Chart(
                title="Two Gaussians, bisectors swapped",
                x_label="fraction of the path's length",
                y_label="risk over variance",
                series=(
                    *curves,
                    Series(label="proved bound", x=(0.0, 1.0), y=(shares["bound"],) * 2),
                    Series(label="one half", x=(0.0, 1.0), y=(0.5, 0.5)),
                ),
            ),
        ),
    )


def _share(series: Series, of: float) -> Series:
    return Series(label=series.label, x=series.x, y=tuple(value / of for value in series.y))


TWO_GAUSSIANS = Statement(
    name="two-gaussians",
    source="Freeman & Bruna 2017, Section 2.3.1",
    claim="With two relu units in the plane, every path that swaps the bisectors of two clusters "
    "passes a first layer of rank one, with a risk of at least half the variance of the targets.",
    check=check,
)
