"""Disconnection by the sign of a determinant: as many hidden units as examples.

Appendix E.1 of Freeman & Bruna (2017) trains a 2-3-2 relu network without biases on three points
and fails to connect it to itself with two hidden units swapped. The reason given is a count of
parameters; this is a proof. Let `X` be `[inputs, n]`, `Y` be `[outputs, n]`, and
`H = relu(W1 X)`, which is `n x n` for `n` hidden units.

1. **Every path crosses a singular H.** `det H` is a continuous function of θ. If its signs at the
   two ends are opposite, it vanishes somewhere on every continuous path; if it is zero at an end,
   that end itself lies on the set `det H = 0`. Swapping two hidden units swaps two rows of `H` and
   so flips the sign; a cyclic permutation of three units keeps it, and nothing follows.
2. **What a singular H costs.** The predictions `W2 H` have their rows in the row space of `H`,
   spanned by at most `n - 1` elements of `C = {relu(w X)}`; conversely any `n - 1` elements of `C`
   are the rows of a singular `H` (repeat one). So the least loss on `det H = 0` is the least loss
   of a network with one hidden unit *fewer*. A row space can be enlarged, which lowers the loss, to
   a hyperplane spanned by `n - 1` elements of `C`. With its unit normal `ν` the loss is at least
   `|(W2 H - Y) ν|² = |Y ν|²`, and the best `W2` attains that. Hence
   `B = scale * min |Y ν|²` over the *admissible* `ν`: those with `n - 1` linearly independent
   elements of `C` orthogonal to them. A hidden bias is one more input that is always 1.
3. **Which normals are admissible.** `w X` ranges over the row space of `X`.

   - Rank `n`: `C` is the whole orthant `R^n_+`. A strictly positive `ν` is orthogonal to no
     element but zero, so an admissible `ν` has, up to its sign, a positive entry and one that is at
     most zero.
   - Rank 2 and `n = 3`: `w` matters through a direction in a plane. The half-turns where an
     example is switched on or off cut the circle into arcs, one an activation pattern; on an arc
     `relu(w X)` is linear in `w`, so `C` is the union of the cones spanned by the images
     `r_j, r_{j+1}` of the arc's two ends. `ν` is orthogonal to an element of that cone other than
     zero only if `ν r_j` and `ν r_{j+1}` have weakly opposite signs, and to all of it only if both
     vanish. Two independent elements therefore need either a cone with both zero, or two cones with
     weakly opposite signs; in the latter case zeros among the signs can be replaced so that the
     sequence `ν r_1, ν r_2, ...` changes its sign at least twice. (Where the two cones share the
     ray `r` and `ν r = 0`, strictly opposite signs on its two sides leave only `r` itself.) Arcs
     whose image is a ray or zero contribute nothing new.

4. **The minimum, proved.** The normals, up to scale, fill the faces `ν_k = 1, |ν_i| <= 1` of a
   cube. A box of a face with centre `m` and half-width `w` is discarded if no `ν` in it is
   admissible, by interval signs, or if `|Y ν|² >= λ |ν|²` on all of it, for which, with
   `A = Y'Y - λ I`, it is enough that `m'Am - 2 w sum |Am| - λ (n - 1) w² >= 0` (the sum over the
   free coordinates of the face); otherwise it is halved along every axis.
   `λ` stays below the least admissible value seen by the stated gap. When no box is left, `λ` is a
   proved lower bound. All signs and ranks are computed in rational arithmetic, the tests on boxes
   with a margin for their rounding.

**In Appendix E.1 B is always positive**, for any three points of which no two are parallel. Let
`m` span the relations, `X m = 0`. Then `Y`, the points in cyclic order, vanishes on `ν`, the
entries of `m` in cyclic order, alone, and it must be shown that this `ν` is not admissible. If the
entries of `m` have one sign, so have those of `ν`, and no element of `C` but zero is orthogonal to
it. Otherwise let `m = (p, q, -s)` after a cyclic renumbering and up to sign, all letters positive.
The rays are then, in order, `(1, 0, 0)`, `(s, 0, p)`, `(0, s, q)`, `(0, 1, 0)`, from zero to zero,
and on them `ν = (-s, p, q)` has the signs `-, ?, +, +`, and `ν = (q, -s, p)` the signs
`+, +, ?, -`: one change, whatever stands for `?`.

An output bias would add the constant row to the row space: no bound is given then.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from torch import Tensor

from thalweg.certify.obstruction_record import NotApplicable, Obstructed
from thalweg.certify.rational import (
    Matrix,
    determinant_sign,
    exact,
    independent_rows,
    parallel,
    product,
)
from thalweg.certify.rounding import UNIT, gamma
from thalweg.certify.shallow import Shallow, Weights
from thalweg.errors import InputError
from thalweg.objective import Objective

_MOST_EXAMPLES = 4  # the boxes fill a cube's faces, of dimension one less
_LEVELS = 45
_ZERO = 2.0**-36  # of the size of Y'Y: a smaller minimum is taken for zero

Possible = Callable[[np.ndarray, float], np.ndarray]
"""From centres `[B, n]` and a half-width to whether a box may hold an admissible normal `[B]`."""


@dataclass(frozen=True)
class DeterminantSign:
    """The determinant of the hidden layer's outputs changes sign between the two models.

    Attributes:
        gap: the proved bound may stay below the true minimum by this share of it.
        most_boxes: of one level of the search; beyond, the bound is what is proved by then.
    """

    gap: float = 1e-4
    most_boxes: int = 100_000
    name: str = "determinant sign"

    def lower_bound(
        self, objective: Objective, theta_a: Tensor, theta_b: Tensor
    ) -> Obstructed | NotApplicable:
        """See :class:`thalweg.certify.obstruction_record.Obstruction`."""
        try:
            shallow = Shallow.of(objective)
        except InputError as error:
            return NotApplicable(str(error))
        a, b = (shallow.weights(theta.double()) for theta in (theta_a, theta_b))
        n, units = len(shallow.inputs), len(a.w1)
        if units != n:
            return NotApplicable(f"needs as many hidden units as examples, got {units} and {n}")
        if a.b2 is not None:
            return NotApplicable("needs an output layer without bias")
        if not 2 <= n <= _MOST_EXAMPLES:
            return NotApplicable(f"needs 2 to {_MOST_EXAMPLES} examples, got {n}")
        inputs = exact(shallow.inputs.T)
        if a.b1 is not None:
            inputs.append([Fraction(1)] * n)
        possible = _admissible(inputs)
        if isinstance(possible, NotApplicable):
            return possible
        signs = [_sign(weights, inputs) for weights in (a, b)]
        if signs[0] * signs[1] > 0:
            return NotApplicable(
                "the determinant of the hidden layer's outputs has the same sign at both ends"
            )
        least, seen = _minimise(shallow.target.T, possible, self.gap, self.most_boxes)
        bound, attained = (shallow.scale * value for value in (least * (1 - 8 * UNIT), seen))
        if not 0 < bound < math.inf:
            return NotApplicable(
                f"{n - 1} hidden units fit the data as well as {n}: the bound is zero"
            )
        return Obstructed(
            bound,
            attained,
            f"the determinant of the hidden layer's {n} outputs on {n} examples "
            f"{'changes sign' if signs[0] * signs[1] else 'is zero at an end'}: every path passes "
            f"a point where {n - 1} hidden units do the work of {n}",
        )


def _sign(weights: Weights, inputs: Matrix) -> int:
    """Sign of det relu(W1 X), without error."""
    w1 = exact(weights.w1)
    if weights.b1 is not None:
        for row, bias in zip(w1, weights.b1, strict=True):
            row.append(Fraction(float(bias)))
    return determinant_sign([[max(z, Fraction(0)) for z in row] for row in product(w1, inputs)])


def _admissible(inputs: Matrix) -> Possible | NotApplicable:
    """The test of boxes of normals, from the features `[d, n]`: point 3 of the docstring."""
    chosen = independent_rows(inputs)
    n = len(inputs[0])
    if len(chosen) == n:
        return _not_positive
    if len(chosen) == 2 and n == 3:
        rays, closed = _rays([(inputs[chosen[0]][i], inputs[chosen[1]][i]) for i in range(n)])
        scaled = np.array([[float(entry / max(ray)) for entry in ray] for ray in rays])
        return functools.partial(_changes_twice, scaled, closed)
    return NotApplicable(
        f"needs independent examples, or three in a plane, got {n} of rank {len(chosen)}"
    )


def _not_positive(centres: np.ndarray, half: float) -> np.ndarray:
    """Whether a box holds a normal that is not strictly positive; one entry is 1."""
    return np.any(centres - half <= 0, axis=1)


def _changes_twice(rays: np.ndarray, closed: bool, centres: np.ndarray, half: float) -> np.ndarray:
    """Whether `ν r_1, ν r_2, ...` may change its sign twice, or vanish on a cone, in a box."""
    values = centres @ rays.T
    # The face's own entry is fixed; to let it vary too only makes the box larger.
    spread = (half + 16 * UNIT) * rays.sum(axis=1)
    unknown = np.abs(values) <= spread
    follows = np.roll(unknown, -1, axis=1)
    cone = unknown & follows
    last = len(rays) if closed else len(rays) - 1
    vanishes: np.ndarray = np.any(cone[:, :last], axis=1)
    most = np.zeros(len(centres))
    for first in (1, -1):
        allowed = {s: unknown | (np.sign(values) == s) for s in (1, -1)}
        count = {s: np.where(allowed[s][:, 0] & (s == first), 0.0, -np.inf) for s in (1, -1)}
        for j in range(1, len(rays)):
            count = {
                s: np.where(allowed[s][:, j], np.maximum(count[s], count[-s] + 1), -np.inf)
                for s in (1, -1)
            }
        if closed:
            count[-first] = count[-first] + 1
        most = np.maximum(most, np.maximum(count[1], count[-1]))
    return np.logical_or(vanishes, most >= 2)


def _rays(points: list[tuple[Fraction, Fraction]]) -> tuple[Matrix, bool]:
    """The images of the arcs' ends, in order, and whether the last is joined to the first.

    Args:
        points: of the plane, not all on a line through the origin.

    Returns:
        Non-zero vectors, neighbours not parallel. Where the image of some arc is zero, the
        sequence starts and ends there.
    """
    ends = [(s * -y, s * x) for x, y in points if x or y for s in (1, -1)]
    ends.sort(key=functools.cmp_to_key(_compare_angles))
    images = [[max(u * x + v * y, Fraction(0)) for x, y in points] for u, v in ends]
    zeros = [k for k, image in enumerate(images) if not any(image)]
    closed = not zeros
    if zeros:  # they are neighbours: the directions that switch every example off form a cone
        images = [image for image in images[zeros[0] :] + images[: zeros[0]] if any(image)]
    rays = [r for k, r in enumerate(images) if k == 0 or not parallel(r, images[k - 1])]
    if closed and parallel(rays[0], rays[-1]):
        rays.pop()
    return rays, closed


def _compare_angles(a: tuple[Fraction, Fraction], b: tuple[Fraction, Fraction]) -> int:
    """Order of two directions by their angle in [0, 2 pi), without error."""
    lower = [y < 0 or (y == 0 and x < 0) for x, y in (a, b)]
    if lower[0] != lower[1]:
        return 1 if lower[0] else -1
    cross = a[0] * b[1] - a[1] * b[0]
    return (cross < 0) - (cross > 0)


def _minimise(
    target: np.ndarray, possible: Possible, gap: float, most_boxes: int
) -> tuple[float, float]:
    """The least `|Y ν|² / |ν|²` over admissible normals: a proved lower bound, and a value seen.

    Args:
        target: `Y`, `[outputs, n]`.
        possible: the test of boxes.
        gap: relative, between the two.
        most_boxes: of one level.
    """
    q, n = target.T @ target, target.shape[1]
    size = float((np.abs(target).T @ np.abs(target)).sum())
    # Twice: the rounding of Y'Y, and of the test, on vectors with entries of at most 1.
    relative = 2 * gamma(len(target) + 8) + gamma(64 * n)
    centres, face = np.ones((n, n)) * np.eye(n), np.arange(n)
    half, least, seen = 1.0, math.inf, math.inf
    corners = np.array(np.meshgrid(*[(-1, 1)] * (n - 1))).reshape(n - 1, -1).T
    for _ in range(_LEVELS):
        keep = possible(centres, half)
        centres, face = centres[keep], face[keep]
        # Values at centres only guide the search and state the gap.
        sure = centres[possible(centres, 0.0)]
        if len(sure):
            seen = min(seen, float((((sure @ q) * sure).sum(1) / (sure**2).sum(1)).min()))
        if seen < _ZERO * size:
            return 0.0, seen
        level = (1 - gap) * seen
        if math.isfinite(level):
            ma = centres @ q - level * centres
            free = np.arange(n) != face[:, None]
            low = (ma * centres).sum(1) - 2 * half * (np.abs(ma) * free).sum(1)
            low -= level * (n - 1) * half**2 + relative * (size + n * level)
            centres, face = centres[low < 0], face[low < 0]
            least = level
        if not len(centres):
            return least, seen
        if len(centres) << (n - 1) > most_boxes:
            break
        half /= 2
        steps = np.zeros((n, len(corners), n))
        for k in range(n):
            steps[k][:, np.arange(n) != k] = half * corners
        centres = (centres[:, None] + steps[face]).reshape(-1, n)
        face = np.repeat(face, len(corners))
    # Out of budget: bound numerator and denominator apart on what is left.
    mq = centres @ q
    low = (mq * centres).sum(1) - 2 * half * np.abs(mq).sum(1) - relative * size
    high = ((np.abs(centres) + half) ** 2).sum(1) * (1 + gamma(64 * n))
    return max(0.0, min(least, float((low / high).min()))), seen
