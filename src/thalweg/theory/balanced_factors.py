"""Balanced factors of a matrix: two linear layers of least norm, and paths of them.

The steps are those of :mod:`thalweg.theory.prop22_ridge`.
"""

from __future__ import annotations

import numpy as np

from thalweg.theory.linear import Layers, Matrix, Path, Piece, product, rotation, segment


def balanced(p: Matrix, units: int, sign: int) -> Layers:
    """The factors `J |P|^(1/2)` and `P |P|^(-1/2) J'`, with the last row of J times a sign.

    Args:
        p: `[n_2, n_0]`, `n_0 <= n_2`.
        units: `n_1`, at least `n_0`.
        sign: 1 or -1.

    Returns:
        Both layers: their norm is twice the nuclear norm of `P`.
    """
    u, s, vt = np.linalg.svd(p, full_matrices=False)
    root = np.sqrt(s)
    j = np.eye(units, len(s))
    j[len(s) - 1, len(s) - 1] = sign
    return j @ (vt.T * root @ vt), (u * root @ vt) @ j.T


def balance(layers: Layers, sign: int) -> tuple[Path, int]:
    """Lead two layers to the balanced factors of their product without raising the norm.

    Args:
        layers: two, `n_0 <= n_2`.
        sign: which one is wanted, where either can be reached.

    Returns:
        Pieces of constant product, and the sign of the factors where they end.
    """
    w1, w2 = layers
    u, s, _ = np.linalg.svd(w1)
    seen = u[:, : numerical_rank(s, w1)]
    first = (w1, w2 @ seen @ seen.T)
    _, s, vt = np.linalg.svd(first[1])
    basis = vt[: numerical_rank(s, w2)].T
    second = (basis @ basis.T @ w1, first[1])
    path = [
        segment(layers, first, "project the second layer", constant=True),
        segment(first, second, "project the first layer", constant=True),
    ]
    inner1, inner2 = basis.T @ second[0], second[1] @ basis
    stretch, amounts = _geometric_mean(inner1, inner2)

    def scaled(t: float) -> Layers:
        return (
            basis @ (stretch * amounts**t) @ (stretch.T @ inner1),
            (inner2 @ stretch * amounts**-t) @ stretch.T @ basis.T,
        )

    path.append(Piece(scaled, straight=False, constant=True, why="balance the norms"))
    p = product(layers)
    narrow, units = p.shape[1], len(w1)
    _, s, vt = np.linalg.svd(p)
    rank = basis.shape[1]
    # W1 = frame |P|^(1/2) with orthonormal columns, on the kernel of P any.
    columns = scaled(1.0)[0] @ vt[:rank].T / np.sqrt(s[:rank])
    a, _, bt = np.linalg.svd(columns, full_matrices=True)
    polar = a[:, :rank] @ bt
    frame = np.hstack([polar, a[:, rank:]])
    if units > narrow:
        sign = 1
    if np.linalg.det(frame) * np.linalg.det(vt) * sign < 0:
        if rank < units:
            frame[:, -1] *= -1  # the layers do not use it
        else:
            sign = -sign
    target = np.hstack([frame[:, :narrow] @ vt, frame[:, narrow:]])
    mirror = np.diag(np.append(np.ones(units - 1), sign))
    turn = rotation(mirror @ target.T)
    start = scaled(1.0)

    def turned(t: float) -> Layers:
        r = turn(t)
        return r @ start[0], start[1] @ r.T

    path.append(Piece(turned, straight=False, constant=True, why="rotate"))
    path.append(segment(turned(1.0), balanced(p, units, sign), "same network", constant=True))
    return path, sign


def numerical_rank(s: Matrix, of: Matrix) -> int:
    """How many singular values `s` of a matrix are not rounding."""
    return int((s > s[:1] * max(of.shape) * np.finfo(float).eps).sum())


def _geometric_mean(w1: Matrix, w2: Matrix) -> tuple[Matrix, Matrix]:
    """Eigenvectors and root eigenvalues of the mean of `(W1 W1')^-1` and `W2' W2`."""
    u, s, _ = np.linalg.svd(w1, full_matrices=False)
    # A^(-1/2) (A^(1/2) B A^(1/2))^(1/2) A^(-1/2) = f f', and the middle is |W2 A^(1/2)|.
    _, c, ct = np.linalg.svd(w2 @ (u * s) @ u.T, full_matrices=False)
    f = (u / s) @ u.T @ (ct.T * np.sqrt(c))
    vectors, values, _ = np.linalg.svd(f)
    return vectors, values


def straight(p: Matrix, q: Matrix, units: int, sign: int) -> Piece:
    """Balanced factors of the products between two: F is convex along them."""
    return Piece(
        lambda t: balanced((1 - t) * p + t * q, units, sign),
        straight=False,
        constant=False,
        why="straight line of products, balanced",
    )


def turn_over(p: Matrix, units: int, sign: int) -> Piece:
    """From one sign of the balanced factors to the other, at a product with a kernel."""
    v = np.linalg.svd(p)[2][-1]
    j = np.eye(units)
    j[-1, -1] = sign
    # J and J (I - 2 v v') have the same product with |P|^(1/2), and opposite determinants.
    turn = rotation(
        (j * np.append(np.ones(units - 1), -1)) @ (np.eye(units) - 2 * np.outer(v, v)) @ j
    )
    start = balanced(p, units, sign)

    def at(t: float) -> Layers:
        r = turn(t)
        return r @ start[0], start[1] @ r.T

    return Piece(at, straight=False, constant=True, why="turn over")
