"""Least squares with the nuclear norm: the minimum, and the minimum at lower rank.

`G(P) = E|Y - P X|² + 2 κ |P|_*`, after Eq. 12 of Freeman & Bruna 2017.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize

from thalweg.theory.linear import Matrix, Regression

_STARTS = 8


def nuclear(problem: Regression, p: Matrix) -> float:
    """G of a product: its error and 2 κ times the sum of its singular values.

    Example:
        >>> round(nuclear(Regression(np.eye(2), np.eye(2), ridge=0.5), np.eye(2)), 12)
        2.0
    """
    singular = np.linalg.svd(p, compute_uv=False)
    return problem.of_product(p) + 2 * problem.ridge * float(singular.sum())


def least_nuclear(problem: Regression, steps: int = 20_000) -> tuple[Matrix, float]:
    """The product of least G, by accelerated proximal gradient steps (Beck & Teboulle 2009).

    Args:
        problem: with ridge.
        steps: at most.

    Returns:
        The product, and a lower bound of G over all products, from duality.
    """
    n = problem.x.shape[1]
    gram, cross = problem.x @ problem.x.T / n, problem.y @ problem.x.T / n
    rate = 1 / (2 * float(np.linalg.norm(gram, 2)) or 1.0)
    p = ahead = np.zeros_like(cross)
    momentum = 1.0
    for _ in range(steps):
        u, s, vt = np.linalg.svd(ahead - 2 * rate * (ahead @ gram - cross), full_matrices=False)
        following = u * np.maximum(s - 2 * rate * problem.ridge, 0) @ vt
        change = following - p
        if float(((ahead - following) * change).sum()) > 0:  # overshot (O'Donoghue & Candès 2015)
            momentum = 1.0
        later = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead = following + (momentum - 1) / later * change
        p, momentum = following, later
        if np.abs(change).max() <= 1e-15 * max(1.0, np.abs(p).max()):
            break
    z = (cross - p @ gram) / problem.ridge
    z /= max(1.0, float(np.linalg.norm(z, 2)))
    return p, _tilted(problem, z)[1]


def _tilted(problem: Regression, z: Matrix) -> tuple[Regression, float]:
    """`E|Y - P X|² + 2 κ <P, Z>` as a regression, with its least value.

    Args:
        problem: with ridge.
        z: in the row space of the inputs.

    Returns:
        A regression whose error differs by a constant, and the least value.
    """
    n = problem.x.shape[1]
    # 2 κ <P, Z> = 2 <P X, D> / n with D = κ n Z (X')^+, where Z = D X' / (κ n).
    d = problem.ridge * n * z @ np.linalg.pinv(problem.x, rcond=1e-12).T
    tilted = Regression(problem.x, problem.y - d)
    return tilted, tilted.least + (2 * float((problem.y * d).sum()) - float((d * d).sum())) / n


def least_deficient(problem: Regression, seed: int = 0) -> tuple[Matrix, float, float]:
    """The least G of a product of less than full rank, from both sides.

    Args:
        problem: with ridge.
        seed: of the starts of the search.

    Returns:
        The best product found, its G, and a proved lower bound.
    """
    full, lower_all = least_nuclear(problem)
    n = problem.x.shape[1]
    gram, cross = problem.x @ problem.x.T / n, problem.y @ problem.x.T / n
    z = (cross - full @ gram) / problem.ridge
    z /= max(1.0, float(np.linalg.norm(z, 2)))
    tilted, least = _tilted(problem, z)
    lower = max(lower_all, least + tilted.least_deficient - tilted.least)
    outputs, inputs = cross.shape
    rank = min(cross.shape) - 1
    found = [np.zeros_like(cross), tilted.best_deficient]

    def loss(flat: Matrix) -> tuple[float, Matrix]:
        w2, w1 = (
            flat[: outputs * rank].reshape(outputs, rank),
            flat[outputs * rank :].reshape(rank, inputs),
        )
        slope = 2 * (w2 @ w1 @ gram - cross)
        both = np.concatenate([
            (slope @ w1.T + 2 * problem.ridge * w2).ravel(),
            (w2.T @ slope + 2 * problem.ridge * w1).ravel(),
        ])  # fmt: skip
        return problem((w1, w2)), both

    if rank:
        u, s, vt = np.linalg.svd(tilted.best_deficient, full_matrices=False)
        root = np.sqrt(s[:rank])
        starts = [
            np.concatenate([(u[:, :rank] * root).ravel(), (root[:, None] * vt[:rank]).ravel()])
        ]
        rng = np.random.default_rng(seed)
        starts += [rng.normal(size=starts[0].size) for _ in range(_STARTS)]
        for start in starts:
            flat = np.asarray(minimize(loss, start, jac=True, method="L-BFGS-B",
                                       options={"maxiter": 2000, "ftol": 1e-15}).x)  # fmt: skip
            w2, w1 = flat[: outputs * rank], flat[outputs * rank :]
            found.append(w2.reshape(outputs, rank) @ w1.reshape(rank, inputs))
    values = [nuclear(problem, p) for p in found]
    best = int(np.argmin(values))
    return found[best], values[best], min(lower, values[best])
