"""Disconnection by the rank of the first layer: two relu units in the plane, any sample.

Section 2.3.1 of Freeman & Bruna (2017) takes two hidden units in the plane that bisect two Gaussian
clusters, swaps them, and states that every path passes a `W1` of rank 1, with risk at least 1/2.
What holds, for a network `x -> W2 relu(W1 x)` with `x` in R² and *no biases*, and any sample `X`
`[n, 2]`, `Y` `[n, outputs]`:

1. **Every path crosses rank 1.** `W1` is 2 x 2, and `det W1` is continuous in θ. If its signs at
   the two ends are opposite, or one of them is zero, every continuous path has a point with
   `det W1 = 0`. Swapping the two units flips the sign.
2. **What rank 1 costs.** There both units see `x` only through one direction `u`: their rows are
   multiples of it, and the predictions lie in the span of `f+ = relu(X u)` and `f- = relu(-X u)`;
   all of that span is reached, by the rows `u` and `-u`. These two vectors have disjoint supports,
   hence are orthogonal, and the least loss given `u` is `scale (|Y|² - g(u))` with the *gain*

       g(u) = |Y' f+|² / |f+|² + |Y' f-|² / |f-|²    (a term with f = 0 counts zero).

   So `B = scale * min over u of (|Y|² - g(u))`, one angle in a half-turn.
3. **The minimum, proved.** Where no example changes sign, on an arc between directions `u1` and
   `u2`, every `u = a u1 + b u2` with `a, b >= 0` has `f+ = a f1 + b f2`, and

       |Y' f+|² / |f+|² = (a² m11 + 2 a b m12 + b² m22) / (a² g11 + 2 a b g12 + b² g22)
                       <= max(m11 / g11, m12 / g12, m22 / g22)

   where `g_kl = f_k f_l >= 0` and `m_kl = (Y' f_k)(Y' f_l)`: a mediant lies below the largest of
   its fractions. It is also at most `|Y|²` of the examples in the support. Arcs start between the
   `n` breakpoints; the one with the largest bound is halved until the gap is as small as asked. An
   example whose sign is not constant on an arc, which only breakpoints that coincide to rounding
   leave, is counted as fitted perfectly. The bounds on arcs carry the rounding of all their terms.

Where the paper is loose. The constant 1/2 needs a normalisation: with `Y = (X - μ_Z) Z`, the risk
of *every* `u`, and of predicting zero, goes to zero with the covariance, like the risk of the two
models; only ratios survive, and here the bound of the given sample is computed. "The biases can
be implemented by replacing the input vector" breaks the argument: with biases `W1` is 2 x 3,
matrices of rank 1 have codimension 2 among them, and a path can go round; the same holds for more
hidden units, or more inputs, than two. And that swapping *forces* rank 1 rests on the sign of the
determinant: not bisecting anything, but the order of the two units, matters.
"""

from __future__ import annotations

import heapq
import itertools
import math
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from thalweg.certify.obstruction_record import NotApplicable, Obstructed
from thalweg.certify.rational import determinant_sign, exact
from thalweg.certify.rounding import UNIT, gamma
from thalweg.certify.shallow import Shallow
from thalweg.errors import InputError
from thalweg.objective import Objective


@dataclass(frozen=True)
class RankOfTwoUnits:
    """The determinant of a 2 x 2 first layer changes sign between the two models.

    The work is of order `n²` for `n` examples.

    Attributes:
        gap: the proved bound may stay below the true minimum by this share of it.
        most_halvings: of arcs; beyond, the bound is what is proved by then.
    """

    gap: float = 1e-4
    most_halvings: int = 20_000
    name: str = "rank of the first layer"

    def lower_bound(
        self, objective: Objective, theta_a: Tensor, theta_b: Tensor
    ) -> Obstructed | NotApplicable:
        """See :class:`thalweg.certify.obstruction_record.Obstruction`."""
        try:
            shallow = Shallow.of(objective)
        except InputError as error:
            return NotApplicable(str(error))
        a, b = (shallow.weights(theta.double()) for theta in (theta_a, theta_b))
        if a.w1.shape != (2, 2):
            units, inputs = a.w1.shape
            return NotApplicable(f"needs two hidden units and two inputs, got {units} and {inputs}")
        if a.b1 is not None or a.b2 is not None:
            return NotApplicable("needs layers without biases: with them a path can go round")
        signs = [determinant_sign(exact(weights.w1)) for weights in (a, b)]
        if signs[0] * signs[1] > 0:
            return NotApplicable("det W1 has the same sign at both ends")
        sample = _Sample(shallow.inputs, shallow.target)
        least, seen = sample.least_residual(self.gap, self.most_halvings)
        if not least > 0:
            return NotApplicable("one direction of the plane explains the data: the bound is zero")
        return Obstructed(
            shallow.scale * least * (1 - 8 * UNIT),
            shallow.scale * seen,
            f"det W1 {'changes sign' if signs[0] * signs[1] else 'is zero at an end'}: every path "
            "passes a first layer of rank 1, which sees the inputs through one direction only",
        )


class _Sample:
    """Inputs `[n, 2]` and targets `[n, outputs]`: the gain of directions and of arcs."""

    def __init__(self, x: np.ndarray, y: np.ndarray) -> None:
        self._total, self._terms = float((y * y).sum()), y.size
        seen = (x != 0).any(axis=1)  # where x = 0, both units are silent and nothing is gained
        self._x, self._y = x[seen], y[seen]
        self._sizes = (self._y * self._y).sum(axis=1)
        self._lengths = np.hypot(self._x[:, 0], self._x[:, 1])

    def least_residual(self, gap: float, most_halvings: int) -> tuple[float, float]:
        """The least `|Y|² - g(u)`: a proved lower bound, and a value seen."""
        directions = self._breakpoints()
        best = max(self._gain(u) for u in directions)
        heap: list[tuple[float, int, np.ndarray, np.ndarray]] = []
        for k, (u1, u2) in enumerate(itertools.pairwise(directions)):
            heap.append((-self._bound(u1, u2), k, u1, u2))
        heapq.heapify(heap)
        for k in range(len(heap), len(heap) + 2 * most_halvings, 2):
            if -heap[0][0] - best <= gap * (self._total - best):
                break
            _, _, u1, u2 = heapq.heappop(heap)
            middle = (u1 + u2) / np.abs(u1 + u2).max()
            best = max(best, self._gain(middle))
            heapq.heappush(heap, (-self._bound(u1, middle), k, u1, middle))
            heapq.heappush(heap, (-self._bound(middle, u2), k + 1, middle, u2))
        rounding = 4 * gamma(self._terms + 64) * self._total
        return self._total + heap[0][0] - rounding, self._total - best

    def _breakpoints(self) -> list[np.ndarray]:
        """Directions that cover a half-turn in arcs of at most a right angle, ends included."""
        across = np.stack([-self._x[:, 1], self._x[:, 0]], axis=1)
        normals = np.concatenate([across, np.eye(2)])
        low = (normals[:, 1] < 0) | ((normals[:, 1] == 0) & (normals[:, 0] < 0))
        normals[low] *= -1
        _, index = np.unique(np.arctan2(normals[:, 1], normals[:, 0]), return_index=True)
        ordered = normals[index]
        return [*ordered, -ordered[0]]

    def _gain(self, u: np.ndarray) -> float:
        """g(u), to rounding."""
        z = self._x @ u
        gain = 0.0
        for f in (np.maximum(z, 0), np.maximum(-z, 0)):
            square = float(f @ f)
            if square > 0:
                gain += float(((f @ self._y) ** 2).sum()) / square
        return gain

    def _signs(self, u: np.ndarray) -> np.ndarray:
        """Signs of `X u`, without error: what rounding leaves open is computed in fractions."""
        terms = self._x * u
        z = terms[:, 0] + terms[:, 1]
        signs = np.sign(z)
        close = np.abs(z) <= 4 * UNIT * np.abs(terms).sum(axis=1)
        for i in close.nonzero()[0]:
            (x0, x1), (u0, u1) = exact(np.stack([self._x[i], u]))
            value = x0 * u0 + x1 * u1
            signs[i] = (value > 0) - (value < 0)
        return signs

    def _bound(self, u1: np.ndarray, u2: np.ndarray) -> float:
        """Upper bound of the gain on the arc from u1 to u2, of less than a half-turn."""
        s1, s2 = self._signs(u1), self._signs(u2)
        gain = float(self._sizes[s1 * s2 < 0].sum())
        for side in (1, -1):
            support = (s1 * s2 >= 0) & ((s1 == side) | (s2 == side))
            if support.any():
                gain += self._term(support, [(side * u1, s1), (side * u2, s2)])
        return gain

    def _term(self, support: np.ndarray, ends: list[tuple[np.ndarray, np.ndarray]]) -> float:
        """Upper bound of `|Y' f|² / |f|²` on the arc: point 3 of the module's docstring."""
        x, y = self._x[support], self._y[support]
        limit = float(self._sizes[support].sum())
        relative = gamma(len(x) + 16)
        length = float(np.linalg.norm(self._lengths[support]))
        size = math.sqrt(limit)
        vectors = []
        for u, signs in ends:
            moves = signs[support] != 0
            if not moves.any():
                continue  # only the other end moves f, which keeps its direction
            f = np.where(moves, x @ u, 0.0)
            error = 4 * UNIT * length * float(np.hypot(*u))  # of f, in norm
            vectors.append((f, float(np.linalg.norm(f)), error, f @ y))
        ratios = []
        for k, (f, norm_f, error_f, c) in enumerate(vectors):
            for g, norm_g, error_g, d in vectors[k:]:
                below = float(f @ g) - error_f * norm_g - error_g * norm_f - error_f * error_g
                below -= 4 * relative * norm_f * norm_g
                if below <= 0:
                    return limit
                # Y' f errs by at most `off` in norm.
                off_c, off_d = (size * (e + relative * m) * (1 + relative)
                                for e, m in ((error_f, norm_f), (error_g, norm_g)))  # fmt: skip
                c_size, d_size = float(np.linalg.norm(c)), float(np.linalg.norm(d))
                above = float(c @ d) + off_c * d_size + off_d * c_size + off_c * off_d
                above += 4 * gamma(len(c) + 16) * c_size * d_size
                ratios.append(above / below)
        return min(limit, max(ratios, default=0.0) * (1 + 16 * UNIT))
