"""A tessellation that no path keeps: isolated zeros of the loss.

Freeman & Bruna 2017, Section 2.3.1. Let `Y = Φ(X; θ)` be a relu network's own output, so that the
loss is zero at θ and at every θσ with its hidden units permuted. The paper: a path from θ to θσ has
a different tessellation of the input space on the way, and so cannot have zero loss throughout; it
says "one can see" that this is so. Here it is seen by linear algebra, for one hidden layer without
biases, one output and any sample of inputs:

- A zero of the loss has zero residuals, and its Hessian is `2 J'J / N` with J the derivatives of
  the outputs by the weights, exactly, as long as no input lies on the edge of a unit.
- The `m` rescalings of a unit and its output weight lie in the kernel. If J has rank `p - m`, there
  is nothing else in it: on the slice where `|w_i| = |β_i|` the Hessian is positive definite.
- So on that slice θ is an isolated zero. Every path of networks with no dead unit is rescaled,
  continuously, to a path in the slice. One on which a unit dies without loss passes a network of
  `m - 1` units that fits the data; it would have to leave the neighbourhood of θ in the slice
  first. What is proved is that no path leaves the orbit of θ without loss.

How high it has to go this does not say. In the plane with two units it is proved
(:mod:`thalweg.certify.obstruction_rank`); otherwise the lowest string found tells.
"""

from __future__ import annotations

from itertools import pairwise
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
from thalweg.theory.strings import highest, lowest_string, profile_of, relu_objective

_PIECES = 9


def teacher(
    units: int, inputs: int, examples: int, seed: int
) -> tuple[Objective, Tensor, Matrix, Matrix]:
    """A network, normal inputs, and the loss against its own outputs.

    Args:
        units: hidden.
        inputs: their dimension.
        examples: drawn.
        seed: of the draw.

    Returns:
        The objective, θ, the first layer `[units, inputs]` and the output weights `[units]`.
    """
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(examples, inputs))
    w1 = rng.normal(size=(units, inputs))
    w1 /= np.linalg.norm(w1, axis=1, keepdims=True)
    beta = rng.choice([-1.0, 1.0], units) * rng.uniform(0.5, 1.5, units)
    size = np.sqrt(np.abs(beta))[:, None]
    w1, beta = w1 * size, beta / size[:, 0]  # |w_i| = |β_i|
    objective = relu_objective(x, np.maximum(x @ w1.T, 0) @ beta[:, None], units)
    return objective, torch.from_numpy(np.append(w1.ravel(), beta)), w1, beta


def jacobian(x: Matrix, w1: Matrix, beta: Matrix) -> Matrix:
    """Derivatives `[N, units * (inputs + 1)]` of the outputs by `W1`, row by row, and then β."""
    z = x @ w1.T
    by_w1 = (z > 0)[:, :, None] * beta[:, None] * x[:, None, :]
    return np.hstack([by_w1.reshape(len(x), -1), np.maximum(z, 0)])


def turned(first: Matrix, second: Matrix) -> float:
    """How far one set of units is from another, as lines through the origin, in whatever order.

    Returns:
        The largest angle between a unit of the second and the nearest one of the first.

    Example:
        >>> turned(np.eye(2), np.eye(2)[::-1])
        0.0
    """
    a, b = (w / np.linalg.norm(w, axis=1, keepdims=True) for w in (first, second))
    cosines = np.minimum(np.abs(a @ b.T), 1).max(axis=0)
    return float(np.arccos(cosines).max())


def check(
    units: Annotated[int, "Hidden units of the teacher."] = 2,
    inputs: Annotated[int, "Dimension of the inputs."] = 2,
    examples: Annotated[int, "Normal inputs drawn."] = 200,
    seed: Annotated[int, "Of teacher and inputs."] = 1,
) -> Finding:
    """Show that a network and its permuted copy are separate zeros of the loss.

    Args:
        units: at least 2.
        inputs: at least 2.
        examples: enough to determine the weights.
        seed: of all that is drawn.

    Returns:
        Whether both ends have zero loss, the zero at θ is isolated but for rescalings, and no
        string found stays at zero.

    Raises:
        InputError: if a number is too small.

    Example:
        >>> check(units=3, inputs=3, examples=100).values["kernel_beyond_rescalings"]
        0
    """
    if units < 2 or inputs < 2 or examples < units * inputs:
        raise InputError(
            "expected at least 2 units, 2 inputs and units × inputs examples, got "
            f"{units}, {inputs} and {examples}"
        )
    objective, theta, w1, beta = teacher(units, inputs, examples, seed)
    shallow = Shallow.of(objective)
    other = shallow.permute_hidden(theta, (1, 0, *range(2, units)))
    ends = objective.criterion_of(torch.stack([theta, other])).values[:, 0].tolist()
    singular = np.linalg.svd(jacobian(shallow.inputs, w1, beta), compute_uv=False)
    curvature = 2 * singular**2 / examples
    kernel = int((singular <= 1e-9 * singular[0]).sum()) + max(0, w1.size + units - len(singular))
    least = float(curvature[w1.size - 1])
    margin = float(np.abs(shallow.inputs @ w1.T).min())
    proved = obstruct(objective, theta, other)
    string = lowest_string(objective, theta, other, seed=seed)
    lowest, straight = highest(objective, string), highest(objective, [theta, other])
    grid = np.linspace(0, 1, _PIECES)
    moved = [
        turned(w1, shallow.weights((1 - t) * a + t * b).w1)
        for a, b in pairwise(string)
        for t in grid
    ]
    bound = None if isinstance(proved, NotApplicable) else proved.bound
    isolated = kernel == units and least > 0 and margin > 0
    holds = max(ends) < 1e-20 and isolated and lowest > max(bound or 0.0, 1e-12)
    level = () if bound is None else (
        Series(label="proved bound", x=(0.0, 1.0), y=(bound, bound)),
    )  # fmt: skip
    return Finding(
        holds=bool(holds),
        sentence=f"{units} units, {inputs} inputs: θ and its copy with two units swapped have no "
        f"loss; the Hessian at θ vanishes in {kernel} directions, the {units} rescalings, and is "
        f"at least {least:.3g} across them. "
        + (f"Every path reaches {bound:.3g} (proved). " if bound else "")
        + f"The lowest string found reaches {lowest:.3g}.",
        values={
            "units": units,
            "inputs": inputs,
            "largest_loss_of_an_end": max(ends),
            "kernel_of_the_hessian": kernel,
            "kernel_beyond_rescalings": kernel - units,
            "least_curvature_across": least,
            "least_margin_of_an_input": margin,
            "every_path_reaches": bound,
            "lowest_string_reaches": lowest,
            "straight_line_reaches": straight,
            "tessellation_turns_by": max(moved),
        },
        charts=(
            Chart(
                title=f"A teacher of {units} units and its copy with two of them swapped",
                x_label="fraction of the path's length",
                y_label="mean squared error",
                series=(
                    profile_of(objective, [theta, other], "straight"),
                    profile_of(objective, string, "lowest string found"),
                    *level,
                ),
            ),
        ),
    )


TESSELLATION = Statement(
    name="tessellation",
    source="Freeman & Bruna 2017, Section 2.3.1",
    claim="Where a relu network is to fit its own outputs, it and its copies with permuted units "
    "are isolated zeros of the loss but for rescalings: every path between two of them has another "
    "tessellation, and positive loss, somewhere.",
    check=check,
)
