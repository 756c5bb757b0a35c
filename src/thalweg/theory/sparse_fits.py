"""Sparse fits with relu units: the numbers that Theorem 2.4 of Freeman & Bruna 2017 is about.

For inputs `x` `[N, n]`, targets `y` `[N]`, units as rows of `W`, `|w_i| <= 1`, and `κ > 0`:

    F(W, β) = E|Y - β Z(W)|² + κ |β|_1,    Z(W) = relu(W X).

- `δ_W(m, 0; m)`, the least F over β, is convex: the lasso.
- `δ_W(m - l, α; m)` (Eq. 8) also chooses l units to do without, and turns the others by up to α.
  This is combinatorial; found here is an *upper bound*: units are given up one by one, each dropped
  or handed to its nearest neighbour (as in the proof of Corollary 2.5), whichever costs least; the
  others are turned by projected gradient steps; and the lasso is solved again.
- `e(l)` (Eq. 6), the best l units whatever: an *upper bound* too, from greedy choices among many
  directions, and a smooth problem: for `γ = a |v|`, `κ |γ|` is the least `κ (a² + |v|²)/2`.

Whatever is found, its F is evaluated; no bound below depends on how good it is.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from thalweg.theory.linear import Matrix

Indices = NDArray[np.intp]

_TURNS = 60


@dataclass(frozen=True, eq=False)
class Fit:
    """Units and their output weights.

    Attributes:
        w: `[m, n]`.
        beta: `[m]`.
    """

    w: Matrix
    beta: Matrix

    @property
    def support(self) -> Indices:
        """Indices of units that are used."""
        return np.flatnonzero(self.beta)


@dataclass(frozen=True, eq=False)
class Problem:
    """The data, and κ.

    Attributes:
        x: inputs, `[N, n]`.
        y: targets, `[N]`.
        kappa: positive.
    """

    x: Matrix
    y: Matrix
    kappa: float

    def features(self, w: Matrix) -> Matrix:
        """Outputs of units, `[N, m]`."""
        return np.maximum(self.x @ w.T, 0)

    def error(self, fit: Fit) -> float:
        """The mean squared error alone."""
        return float(((self.features(fit.w) @ fit.beta - self.y) ** 2).mean())

    def __call__(self, fit: Fit) -> float:
        """F of a fit.

        Example:
            >>> problem = Problem(np.array([[1.0], [-1.0]]), np.array([1.0, 0.0]), kappa=0.5)
            >>> problem(Fit(np.array([[1.0]]), np.array([1.0])))
            0.5
        """
        return self.error(fit) + self.kappa * float(np.abs(fit.beta).sum())

    def lasso(self, w: Matrix) -> Fit:
        """The best output weights of given units, to a small duality gap.

        Args:
            w: units, `[m, n]`.

        Returns:
            The fit.
        """
        # scikit-learn takes long to import, and only this needs it.
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import Lasso

        z = self.features(w)
        model = Lasso(alpha=self.kappa / 2, fit_intercept=False, tol=1e-6, max_iter=10_000)
        model.set_params(precompute=z.T @ z)
        with warnings.catch_warnings():
            # Nearly parallel units converge slowly; the value of what is found is computed anyway.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(z, self.y)
        return Fit(w, np.asarray(model.coef_))


def compress(problem: Problem, start: Fit, units: int, alpha: float) -> Fit:
    """Do with fewer units, turned by no more than an angle: an upper bound of `δ_W(units, α; m)`.

    Args:
        problem: data and κ.
        start: the lasso of all units.
        units: at most so many are used.
        alpha: by which each may turn.

    Returns:
        A fit of as many rows, `units` of them at most with an output weight.
    """
    z = problem.features(start.w)
    gram, beta = z.T @ z / len(z), start.beta.copy()
    slope = gram @ beta - z.T @ problem.y / len(z)
    lengths = np.linalg.norm(start.w, axis=1, keepdims=True)
    cosines = (start.w / lengths) @ (start.w / lengths).T
    while len(used := np.flatnonzero(beta)) > units:
        near = cosines[np.ix_(used, used)] - 2 * np.eye(len(used))
        heir = used[near.argmax(axis=1)] if len(used) > 1 else used
        changes = []
        for give_to_heir in (False, True):
            change = np.zeros((len(used), len(beta)))
            change[np.arange(len(used)), used] = -beta[used]
            if give_to_heir and len(used) > 1:
                scale = np.sqrt(gram[used, used] / np.maximum(gram[heir, heir], 1e-300))
                change[np.arange(len(used)), heir] += beta[used] * scale
            changes.append(change)
        tried = np.concatenate(changes)
        cost = 2 * tried @ slope + ((tried @ gram) * tried).sum(axis=1)
        cost += problem.kappa * (np.abs(beta + tried).sum(axis=1) - np.abs(beta).sum())
        best = tried[int(cost.argmin())]
        beta, slope = beta + best, slope + gram @ best
        beta[np.abs(beta) < 1e-14 * np.abs(beta).max(initial=1e-300)] = 0
    kept = np.flatnonzero(beta)
    if not len(kept):
        return Fit(start.w, np.zeros_like(beta))
    chosen = problem.lasso(start.w[kept])
    if alpha > 0 and len(kept) < len(start.support):
        chosen = _turn(problem, chosen, alpha)
    w, beta = start.w.copy(), np.zeros_like(beta)
    w[kept], beta[kept] = chosen.w, chosen.beta
    return Fit(w, beta)


def _turn(problem: Problem, fit: Fit, alpha: float) -> Fit:
    """Turn units, each within an angle of where it was, as long as F falls."""
    best, origin, step = fit, fit.w, alpha
    value = problem(fit)
    for _ in range(_TURNS):
        z = problem.x @ best.w.T
        residual = np.maximum(z, 0) @ best.beta - problem.y
        slope = ((z > 0) * residual[:, None] * best.beta).T @ problem.x
        length = np.linalg.norm(slope, axis=1).max()
        if not length > 0:
            break
        moved = within(origin, best.w - step * slope / length, alpha)
        tried = problem.lasso(moved)
        if problem(tried) < value:
            best, value, step = tried, problem(tried), 1.5 * step
        else:
            step /= 3
            if step < 1e-3 * alpha:
                break
    return best


def within(origin: Matrix, moved: Matrix, alpha: float) -> Matrix:
    """Vectors turned back to an angle of at most `alpha`, with the lengths of `origin`.

    Example:
        >>> within(np.array([[1.0, 0.0]]), np.array([[0.0, 3.0]]), np.pi / 6).round(3)
        array([[0.866, 0.5  ]])
    """
    lengths = np.linalg.norm(origin, axis=1, keepdims=True)
    a = origin / lengths
    b = moved / np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-300)
    along = (a * b).sum(axis=1, keepdims=True)
    across = b - along * a
    size = np.linalg.norm(across, axis=1, keepdims=True)
    angle = np.minimum(np.arctan2(size, along), alpha)
    turned = np.cos(angle) * a + np.sin(angle) * across / np.maximum(size, 1e-300)
    return lengths * turned


def oracle(problem: Problem, units: int, pool: Matrix) -> Fit:
    """The best few units found: an upper bound of `e(units)`.

    Args:
        problem: data and κ.
        units: how many.
        pool: unit directions to begin with, `[P, n]`.

    Returns:
        A fit of so many unit rows.
    """
    z = problem.features(pool)
    sizes = np.maximum(np.linalg.norm(z, axis=0), 1e-300)
    chosen: list[int] = []
    residual = problem.y
    for _ in range(units):
        gain = np.abs(z.T @ residual) / sizes
        gain[chosen] = -1
        chosen.append(int(gain.argmax()))
        solved = np.linalg.lstsq(z[:, chosen], problem.y, rcond=1e-10)[0]
        residual = problem.y - z[:, chosen] @ solved
    fits = [problem.lasso(pool[chosen])]
    fits.append(problem.lasso(_descend(problem, fits[0])))
    return min(fits, key=problem)


def _descend(problem: Problem, start: Fit) -> Matrix:
    """Unit directions of a local minimum of the smooth problem."""
    (m, n), examples = start.w.shape, len(problem.y)
    root = np.sqrt(np.maximum(np.abs(start.beta), 1e-3))
    signed = np.where(start.beta < 0, -root, root)
    flat = np.concatenate([(start.w * root[:, None]).ravel(), signed])

    def loss(flat: Matrix) -> tuple[float, Matrix]:
        v, a = flat[: m * n].reshape(m, n), flat[m * n :]
        z = problem.x @ v.T
        active = np.maximum(z, 0)
        residual = active @ a - problem.y
        by_v = 2 / examples * ((z > 0) * residual[:, None] * a).T @ problem.x
        by_a = 2 / examples * active.T @ residual
        value = float((residual**2).mean()) + problem.kappa / 2 * float(flat @ flat)
        return value, np.concatenate([by_v.ravel(), by_a]) + problem.kappa * flat

    solved = np.asarray(minimize(loss, flat, jac=True, method="L-BFGS-B",
                                 options={"maxiter": 300}).x)  # fmt: skip
    v = solved[: m * n].reshape(m, n)
    lengths = np.linalg.norm(v, axis=1, keepdims=True)
    return np.where(lengths > 1e-12, v / np.maximum(lengths, 1e-300), start.w)
