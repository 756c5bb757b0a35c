"""Orbits of weights that compute the same function.

Freeman & Bruna 2017, Section 2.1. For a deep linear network the orbit of θ is

    U_θ = {(F_1 W_1, F_2 W_2 F_1^-1, ..., W_K F_{K-1}^-1) : F_k in GL+(n_k)},

a connected manifold through θ along which the function, and with it the loss, is constant; with
relu between the layers the matrices `F_k` shrink to diagonal ones with positive entries. So no
minimum of such a network is strict. To first order: the gradient is orthogonal to the orbit, and
the Hessian at a critical point vanishes along it.

Why positive: a diagonal matrix with a negative entry, or a rotation, does not commute with relu and
changes the function; a matrix of negative determinant leaves the linear network's function alone,
but lies on another component of the group, behind singular matrices.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import numpy as np
from scipy.linalg import expm

from thalweg.errors import InputError
from thalweg.theory.linear import Layers, Matrix, draw_layers, parse_widths
from thalweg.theory.statement import Chart, Finding, Series, Statement

Activation = Callable[[Matrix], Matrix]

_POINTS = 41


def linear(z: Matrix) -> Matrix:
    """The activation of a linear network."""
    return z


def relu(z: Matrix) -> Matrix:
    """max(0, z)."""
    return np.maximum(z, 0)


def loss(layers: Layers, x: Matrix, y: Matrix, activation: Activation) -> float:
    """Mean squared error `E|W_K a(... a(W_1 x)) - y|²`."""
    for layer in layers[:-1]:
        x = activation(layer @ x)
    return float(((layers[-1] @ x - y) ** 2).sum()) / x.shape[1]


def gradient(layers: Layers, x: Matrix, y: Matrix, activation: Activation) -> Layers:
    """Of :func:`loss`, layer by layer; relu's derivative is zero or one."""
    inputs = [x]
    for layer in layers[:-1]:
        inputs.append(activation(layer @ inputs[-1]))
    back = 2 * (layers[-1] @ inputs[-1] - y) / x.shape[1]
    gradients = []
    for k in range(len(layers) - 1, -1, -1):
        gradients.append(back @ inputs[k].T)
        if k:
            back = layers[k].T @ back
            if activation is relu:
                back = back * (inputs[k] > 0)
    return tuple(reversed(gradients))


def act(layers: Layers, frames: Layers) -> Layers:
    """Apply group elements `F_1, ..., F_{K-1}`.

    Example:
        >>> w = (np.array([[2.0]]), np.array([[3.0]]))
        >>> act(w, (np.array([[4.0]]),))
        (array([[8.]]), array([[0.75]]))
    """
    left = (*frames, np.eye(len(layers[-1])))
    right = (np.eye(layers[0].shape[1]), *frames)
    return tuple(f @ w @ np.linalg.inv(g) for f, w, g in zip(left, layers, right, strict=True))


def tangents(layers: Layers, generators: Layers, k: int) -> Layers:
    """The velocity of `exp(t A) W_k, W_{k+1} exp(-t A)` at t = 0, for A = `generators[k]`."""
    a = generators[k]
    return tuple(a @ w if i == k else -w @ a if i == k + 1 else 0 * w for i, w in enumerate(layers))


def orbit_dimension(layers: Layers, *, diagonal: bool) -> int:
    """Dimension of the orbit through θ: the rank of its tangent vectors.

    Args:
        layers: of the network.
        diagonal: for the diagonal group rather than all of GL+.

    Returns:
        The dimension.
    """
    rows = []
    for k, layer in enumerate(layers[:-1]):
        n = len(layer)
        for i in range(n):
            for j in range(n):
                if diagonal and i != j:
                    continue
                unit = [np.zeros((len(w), len(w))) for w in layers[:-1]]
                unit[k][i, j] = 1
                moved = tangents(layers, tuple(unit), k)
                rows.append(np.concatenate([part.ravel() for part in moved]))
    return int(np.linalg.matrix_rank(np.array(rows), tol=1e-9))


def check(
    widths: Annotated[str, "Widths of all layers, from the input to the output."] = "4,3,3,2",
    examples: Annotated[int, "Examples of the regression."] = 30,
    size: Annotated[float, "Of the group elements' logarithms."] = 1.0,
    seed: Annotated[int, "Of data, network and group elements."] = 0,
) -> Finding:
    """Walk along the orbits of a linear and of a relu network.

    Args:
        widths: `n_0,...,n_K`.
        examples: of the regression.
        size: how far the walk goes.
        seed: of all that is drawn.

    Returns:
        Whether the loss stayed the same, the gradient is orthogonal to the orbits, and the elements
        outside the relu network's group change its loss.

    Raises:
        InputError: if the widths are no widths, or a number is out of range.

    Example:
        >>> check("3,2,2").values["relu_orbit_dimension"]
        2
    """
    sizes = parse_widths(widths)
    if sizes is None or len(sizes) < 3:
        raise InputError(
            f"expected at least three widths from 1 to 64 between commas, such as 4,3,3,2, got "
            f"{widths!r}"
        )
    if examples < 1 or not 0 < size <= 5:
        raise InputError(
            f"expected at least one example and a size above 0 and up to 5, got {examples} and "
            f"{size}"
        )
    rng = np.random.default_rng(seed)
    x, y = (rng.normal(size=(n, examples)) for n in (sizes[0], sizes[-1]))
    layers = draw_layers(sizes, rng)
    full = tuple(size * rng.normal(size=(n, n)) / np.sqrt(n) for n in sizes[1:-1])
    diagonal = tuple(np.diag(size * rng.normal(size=n)) for n in sizes[1:-1])
    grid = np.linspace(0, 1, _POINTS)
    walks = {
        "linear, GL+": (full, linear),
        "relu, positive diagonal": (diagonal, relu),
        "relu, GL+ (control)": (full, relu),
    }
    start = {each: loss(layers, x, y, each) for each in (linear, relu)}
    curves = {
        name: np.array([
            loss(act(layers, tuple(expm(t * a) for a in generators)), x, y, each) for t in grid
        ]) / start[each]
        for name, (generators, each) in walks.items()
    }  # fmt: skip
    change = {name: float(np.abs(curve - 1).max()) for name, curve in curves.items()}
    flipped = tuple(np.diag(np.append(-1.0, np.ones(n - 1))) for n in sizes[1:-1])
    mirrored = {each: abs(loss(act(layers, flipped), x, y, each) / start[each] - 1)
                for each in (linear, relu)}  # fmt: skip
    slopes = [
        _cosine(gradient(layers, x, y, each), tangents(layers, generators, k))
        for generators, each in ((full, linear), (diagonal, relu))
        for k in range(len(full))
    ]
    constant = max(change["linear, GL+"], change["relu, positive diagonal"], mirrored[linear])
    holds = (
        constant <= 1e-9
        and max(slopes) <= 1e-9
        and min(change["relu, GL+ (control)"], mirrored[relu]) > 1e-6
    )
    return Finding(
        holds=bool(holds),
        sentence=f"Along the orbits the loss changes by {constant:.2g} of itself at most; "
        f"off them, with general matrices between relu layers, by up to "
        f"{change['relu, GL+ (control)']:.3g}.",
        values={
            "widths": list(sizes),
            "linear_loss_changes_by": change["linear, GL+"],
            "relu_loss_changes_by": change["relu, positive diagonal"],
            "relu_loss_under_general_matrices_changes_by": change["relu, GL+ (control)"],
            "linear_loss_under_a_mirror_changes_by": mirrored[linear],
            "relu_loss_under_a_mirror_changes_by": mirrored[relu],
            "gradient_along_the_orbit": max(slopes),
            "linear_orbit_dimension": orbit_dimension(layers, diagonal=False),
            "linear_group_dimension": sum(n * n for n in sizes[1:-1]),
            "relu_orbit_dimension": orbit_dimension(layers, diagonal=True),
            "relu_group_dimension": sum(sizes[1:-1]),
        },
        charts=(
            Chart(
                title="Loss along one-parameter groups",
                x_label="t of exp(tA)",
                y_label="loss over the loss at t = 0",
                series=tuple(
                    Series(label=name, x=tuple(map(float, grid)), y=tuple(map(float, curve)))
                    for name, curve in curves.items()
                ),
            ),
        ),
    )


def _cosine(a: Layers, b: Layers) -> float:
    u, v = (np.concatenate([part.ravel() for part in each]) for each in (a, b))
    return float(abs(u @ v) / (np.linalg.norm(u) * np.linalg.norm(v)))


ORBITS = Statement(
    name="orbits",
    source="Freeman & Bruna 2017, Section 2.1",
    claim="The loss is constant along the orbit of a deep linear network under invertible matrices "
    "of positive determinant between its layers, and of a relu network under positive diagonal "
    "ones; the gradient is orthogonal to it.",
    check=check,
)
