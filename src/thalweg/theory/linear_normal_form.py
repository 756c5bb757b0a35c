"""Normal forms of deep linear networks, and paths of constant product that lead to them.

The steps are those of :mod:`thalweg.theory.prop22`.
"""

from __future__ import annotations

import numpy as np

from thalweg.theory.linear import (
    Layers,
    Matrix,
    Path,
    Piece,
    product,
    replaced,
    rotation,
    segment,
    transpose,
)


def bottlenecks(layers: Layers) -> list[int]:
    """Layers whose output is hidden and no wider than the narrower end of the network.

    Example:
        >>> bottlenecks((np.ones((3, 2)), np.ones((2, 3)), np.ones((4, 2))))
        [1]
    """
    narrow = min(layers[0].shape[1], layers[-1].shape[0])
    return [j for j, layer in enumerate(layers[:-1]) if layer.shape[0] == narrow]


def signs(layers: Layers) -> list[int]:
    """The sign of the determinant at each bottleneck: of the part between it and the narrow end.

    Returns:
        1, -1 or 0, in order of the layers.

    Example:
        >>> signs((np.array([[-1.0]]), np.array([[2.0]]), np.array([[3.0]])))
        [-1, -1]
    """
    if wide_input(layers):
        return signs(transpose(layers))[::-1]
    return [int(np.sign(np.linalg.det(product(layers[: j + 1])))) for j in bottlenecks(layers)]


def normal_form(p: Matrix, like: Layers, chosen: list[int]) -> Layers:
    """The network of a given product all of whose layers but the last are trivial.

    Args:
        p: `[n_K, n_0]`, `n_0 <= n_K`.
        like: a network of the same widths.
        chosen: the signs at its bottlenecks.

    Returns:
        The layers.
    """
    narrow, below, layers = p.shape[1], np.eye(p.shape[1]), []
    signed = dict(zip(bottlenecks(like), chosen, strict=True))
    for j, layer in enumerate(like[:-1]):
        above = np.eye(layer.shape[0], narrow)
        above[narrow - 1, narrow - 1] = signed.get(j, 1)
        layers.append(above @ below.T)
        below = above
    return (*layers, p @ below.T)


def normalise(layers: Layers) -> tuple[Path, Layers]:
    """Lead a network to its normal form: steps 1 to 4 of the module's docstring.

    Args:
        layers: `n_0 <= n_K`.

    Returns:
        Pieces of constant product, and the network where they end.
    """
    p, narrow = product(layers), layers[0].shape[1]
    path: Path = []
    below = np.eye(narrow)
    for j in range(len(layers) - 1):
        wanted = replaced(layers, {j: layers[j] @ below @ below.T})
        path.append(segment(layers, wanted, "blind to the rest", constant=True))
        path += _orthonormal(wanted, j, below)
        layers = path[-1].at(1.0)
        below = np.round(layers[j] @ below)  # entries 0 and ±1, to rounding
    chosen = [int(below_sign) for below_sign in signs(layers)]
    end = normal_form(p, layers, chosen)
    path.append(segment(layers, end, "blind to the rest", constant=True))
    return path, end


def _orthonormal(layers: Layers, j: int, below: Matrix) -> Path:
    """Steps 2 to 4 at layer j, where `W_j = M below'`."""
    m, above = layers[j] @ below, layers[j + 1]
    units, narrow = m.shape
    u, s, vt = np.linalg.svd(m)
    rank = int((s > s[0] * max(m.shape) * np.finfo(float).eps).sum())
    path: Path = []
    if rank < narrow:
        seen = u[:, :rank]
        blind = replaced(layers, {j + 1: above @ seen @ seen.T})
        s[rank:] = 1
        full = replaced(blind, {j: u[:, :narrow] * s @ vt @ below.T})
        path = [
            segment(layers, blind, "project the layer above", constant=True),
            segment(blind, full, "add the missing rank", constant=True),
        ]
        above = blind[j + 1]

    def scaled(t: float) -> Layers:
        taken = np.append(s**t, np.ones(units - narrow))
        return replaced(layers, {
            j: u[:, :narrow] * s ** (1 - t) @ vt @ below.T,
            j + 1: above @ (u * taken) @ u.T,
        })  # fmt: skip

    frame = u[:, :narrow] @ vt
    target = np.hstack([frame, u[:, narrow:]])
    if np.linalg.det(target) < 0:
        # The complement can be turned over; a bottleneck has none, and keeps its sign.
        target[:, -1] *= -1
    turn = rotation(target.T)
    carried = scaled(1.0)[j + 1]

    def turned(t: float) -> Layers:
        r = turn(t)
        return replaced(layers, {j: r @ frame @ below.T, j + 1: carried @ r.T})

    return [
        *path,
        Piece(scaled, straight=False, constant=True, why="singular values to one"),
        Piece(turned, straight=False, constant=True, why="rotate"),
    ]


def flip(layers: Layers, wanted: list[int]) -> Path:
    """Change signs at bottlenecks, at a normal form whose product has less than full rank.

    Args:
        layers: a normal form, `n_0 <= n_K`.
        wanted: signs at its bottlenecks.

    Returns:
        Pieces of constant product, from it to the normal form with these signs.
    """
    path: Path = []
    for place, j in enumerate(bottlenecks(layers)):
        if signs(layers)[place] == wanted[place]:
            continue
        v = np.linalg.svd(product(layers))[2][-1]
        below = product(layers[:j]) if j else np.eye(len(v))
        above = layers[j] @ below
        mirrored = (above - 2 * np.outer(above @ v, v)) @ below.T
        there = replaced(layers, {j: mirrored})
        path.append(segment(layers, there, "mirror along the kernel", constant=True))
        rest, layers = normalise(there)
        path += rest
    return path


def wide_input(layers: Layers) -> bool:
    """Whether the network has more inputs than outputs."""
    return layers[0].shape[1] > layers[-1].shape[0]
