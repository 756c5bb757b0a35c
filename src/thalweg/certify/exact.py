"""The exact maximum of the criterion along a segment, for one hidden relu layer.

Let the network be `x -> W2 relu(W1 x + b1) + b2` with squared loss, the class of Theorem 2.4 of
Freeman & Bruna (2017), and `θ(t) = (1 - t) θA + t θB`. The input of hidden unit `j` on example `i`
is affine in `t`, `z_ij(t) = (1 - t) z_ij(0) + t z_ij(1)`, so that it changes sign at most once, at
its *breakpoint* `t_ij = z_ij(0) / (z_ij(0) - z_ij(1))`. Between neighbouring breakpoints every
relu is zero or the identity, the residuals `r_i(t) = r0 + r1 t + r2 t²` are quadratic, and the
criterion `F(t) = scale * sum_i |r_i(t)|²` is one quartic. So `F` is a continuous piecewise quartic
with known pieces, and its maximum is the largest of finitely many maxima of quartics.

**How.** The breakpoints, sorted, are cut into blocks. In each block all residuals are computed
afresh, in the variable `τ = t - centre`, which keeps the coefficients small; inside, an example's
three coefficients change only at its own breakpoints, and the change of its share of the quartic
is added to a running sum. The maximum of a quartic over its piece lies between its values at the
ends and its largest Bernstein coefficient (the convex-hull property); pieces where the two differ
are halved, which divides the difference by four. That gives a proved bound, which the computed
roots of the cubic derivative would not.

**Rounding.** With `u = 2**-53` and `γ_k = k u / (1 - k u)` (Higham, *Accuracy and Stability of
Numerical Algorithms*, 2002, Section 3.1), `d` inputs, `m` units, `n` examples, `q` outputs:

1. *Residuals.* What the computed coefficients define differs from the true residual because of the
   rounding of `z`, of the breakpoint (between the true and the computed one a unit is switched
   wrongly, but there `|z| <= 4 u (|z(0)| + |z(1)|)`), of the products with `W2`, and of at most `m`
   additions. All are covered by `ε = γ_{d + 4 m + 64} T`, with
   `T = 8 |V| |Z| + 2 |b2| + |y|`, where `|Z|` is the sum over both ends of
   `|W1| |x| + |b1|`, and `|V|`, `|b2|` the sums over both ends of `|W2|`, `|b2|`. By the triangle
   inequality for the norm of all residuals, `|sqrt(F) - sqrt(F')| <= sqrt(scale) |ε|` with `F'`
   the criterion of the computed coefficients.
2. *Quartics.* A coefficient is a sum of `n q` products plus a running sum of `E` differences; its
   error is at most `γ_{n q + E + 64}` times the sum of the absolute values of all that is added,
   which is computed along; evaluating it costs `γ_1280` times the same.
3. *Search.* Pieces are halved until their bound and the largest value found agree to that error.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from thalweg.certify.rounding import TINY, UNIT, gamma
from thalweg.certify.shallow import Shallow, Weights
from thalweg.errors import InputError
from thalweg.objective import Objective
from thalweg.parameters import Source

_BLOCKS = 64  # for a large problem ...
_LEAST_BLOCK = 2048  # ... and breakpoints a block for a small one, so that fresh sums cost little
# Equal parts of the segment with fresh sums of their own; more of them, hence smaller τ, are tried
# while the rounding of the quartics exceeds this share of the maximum.
_PARTS = (1, 32, 512)
_FINE = 1e-10
_HALVINGS = 40
# Rounding of a value: of its Bernstein coefficients (at most 30 roundings of sums of at most five
# times the absolute coefficients), of 4 averages a halving, and of the ends of the pieces.
_EVALUATION = gamma(20 * 64)


@dataclass(frozen=True)
class ExactMaximum:
    """The maximum of the criterion along a segment.

    Attributes:
        maximum: the largest value computed; the true maximum differs from it by at most
            `rounding`, so that `maximum + rounding` is a proved upper bound.
        argmax: t in [0, 1] where it lies.
        breakpoints: number of t where a hidden unit changes sign on an example.
        pieces: quartics looked at, halves included.
        rounding: a-priori bound of the error of `maximum`.
    """

    maximum: float
    argmax: float
    breakpoints: int
    pieces: int
    rounding: float

    @property
    def bound(self) -> float:
        """Proved upper bound of the criterion over the segment."""
        return float(np.nextafter(self.maximum + self.rounding, math.inf))


def exact_maximum(objective: Objective, theta_a: Source, theta_b: Source) -> ExactMaximum:
    """The exact maximum, up to a stated rounding, of the criterion along a straight segment.

    Args:
        objective: one hidden relu layer with squared loss.
        theta_a: one end: a module, state dict, flat vector `[p]` or file.
        theta_b: the other end.

    Returns:
        The maximum over `(1 - t) theta_a + t theta_b`, t in [0, 1].

    Raises:
        InputError: if the objective is not of this class, an end does not fit it, or the numbers
            overflow.

    Example:
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Linear(1, 1, False), nn.ReLU(), nn.Linear(1, 1, False))
        >>> x = torch.ones(1, 1)
        >>> made = Objective(net, nn.functional.mse_loss, train=(x, 0 * x))
        >>> found = exact_maximum(made, torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.0]))
        >>> found.argmax, found.maximum  # (t (1 - t))², at its largest for t = 1/2
        (0.5, 0.0625)
    """
    shallow = Shallow.of(objective)
    ends = [
        shallow.weights(objective.theta(theta, label).to(torch.float64))
        for theta, label in ((theta_a, "end A"), (theta_b, "end B"))
    ]
    segment = _Segment(shallow, *ends)
    error = segment.residual_error()
    search = segment.search(_PARTS[0])
    for parts in _PARTS[1:]:
        if search.slack > _FINE * search.best:
            search = segment.search(parts)
    value, slack = max(search.best, 0.0), search.slack
    # F <= (sqrt(F' + slack) + error)² and F >= F' - slack - 2 sqrt(F') error.
    rounding = slack + 2 * math.sqrt(value + slack) * error + error * error
    if not math.isfinite(value + rounding):
        raise InputError("expected weights and data of moderate size, got an overflow in float64")
    return ExactMaximum(
        value, search.argmax, len(segment.times), search.pieces, rounding * (1 + 32 * UNIT)
    )


@dataclass(frozen=True, eq=False)
class _Block:
    """The quartics of neighbouring pieces, in `τ = t - centre`.

    Attributes:
        centre: t where τ = 0.
        edges: `[P + 1]`, τ of the pieces' ends.
        quartics: `[P, 5]`, coefficients of τ⁰ to τ⁴.
        slack: bound of the error of a value, whatever the piece.
    """

    centre: float
    edges: np.ndarray
    quartics: np.ndarray
    slack: float


class _Segment:
    """Hidden inputs at both ends, and the breakpoints in order."""

    def __init__(self, shallow: Shallow, a: Weights, b: Weights) -> None:
        self._shallow, self._a, self._b = shallow, a, b
        x = shallow.inputs
        self._za, self._zb = (x @ w.w1.T + (0 if w.b1 is None else w.b1) for w in (a, b))
        crossing = np.sign(self._za) * np.sign(self._zb) < 0
        # Units that do not cross are active where either end is positive.
        self._active = np.where(crossing, self._za > 0, (self._za > 0) | (self._zb > 0))
        examples, units = crossing.nonzero()
        start, end = self._za[examples, units], self._zb[examples, units]
        times = start / (start - end)
        order = np.argsort(times, kind="stable")
        self.times = times[order]
        self._examples, self._units = examples[order], units[order]

    def residual_error(self) -> float:
        """Bound of `sqrt(scale) |ε|`: point 1 of the module's docstring."""
        x, y = np.abs(self._shallow.inputs), np.abs(self._shallow.target)
        total = y.copy()
        z, v = 0.0, 0.0
        for w in (self._a, self._b):
            z = z + x @ np.abs(w.w1.T) + (0 if w.b1 is None else np.abs(w.b1))
            v = v + np.abs(w.w2.T)
            total += 0 if w.b2 is None else 2 * np.abs(w.b2)
        total += 8 * (z @ v)
        terms = x.shape[1] + 4 * self._za.shape[1] + 64
        size = math.sqrt(self._shallow.scale) * float(np.linalg.norm(total))
        return gamma(terms) * size * (1 + 2 * gamma(terms + total.size + 8))

    def search(self, parts: int) -> _Search:
        """Maximise over all blocks; see :meth:`blocks`."""
        found = _Search()
        for block in self.blocks(parts):
            found.add(block)
        return found

    def blocks(self, parts: int) -> Iterator[_Block]:
        """The pieces, in order, a block at a time.

        Args:
            parts: equal parts of [0, 1] that no block reaches over.
        """
        size = max(_LEAST_BLOCK, -(-len(self.times) // _BLOCKS))
        marks = np.unique(np.concatenate([np.linspace(0, 1, parts + 1), self.times[::size]]))
        ends = np.searchsorted(self.times, marks, side="right")
        ends[0] = 0
        active = self._active.copy()
        for k in range(len(marks) - 1):
            events = slice(ends[k], ends[k + 1])
            edges = np.concatenate([marks[k : k + 1], self.times[events], marks[k + 1 : k + 2]])
            yield self._block(edges, events, active)
            active[self._examples[events], self._units[events]] ^= True

    def _block(self, edges: np.ndarray, events: slice, active: np.ndarray) -> _Block:
        centre = float((edges[0] + edges[-1]) / 2)
        width = float(edges[-1] - edges[0])  # at least 2 |τ|
        a, b, y = self._a, self._b, self._shallow.target
        p = (1 - centre) * self._za + centre * self._zb
        q = self._zb - self._za
        v, e = ((1 - centre) * a.w2 + centre * b.w2).T, (b.w2 - a.w2).T
        pm, qm = p * active, q * active
        r = np.stack([pm @ v - y, qm @ v + pm @ e, qm @ e])  # [3, n, q]
        if a.b2 is not None and b.b2 is not None:
            r[0] += (1 - centre) * a.b2 + centre * b.b2
            r[1] += b.b2 - a.b2
        quartics = _quartics(r)  # [5, n]
        sizes = _quartics(np.abs(r))
        i, j = self._examples[events], self._units[events]
        sign = np.where(self._zb[i, j] > 0, 1.0, -1.0)[:, None]
        pe, qe = sign * p[i, j, None], sign * q[i, j, None]
        steps = np.stack([pe * v[j], qe * v[j] + pe * e[j], qe * e[j]])  # [3, E, q]
        changes, added = np.zeros((5, len(i))), sizes.sum(axis=1)
        fresh = quartics.sum(axis=1)
        for turn in _turns(i):  # examples of one turn are distinct
            who = i[turn]
            r[:, who] += steps[:, turn]
            now = _quartics(r[:, who])
            changes[:, turn] = now - quartics[:, who]
            added += sizes[:, who].sum(axis=1)
            sizes[:, who] = _quartics(np.abs(r[:, who]))
            added += sizes[:, who].sum(axis=1)
            quartics[:, who] = now
        running = np.concatenate([np.zeros((5, 1)), np.cumsum(changes, axis=1)], axis=1)
        pieces = (fresh[:, None] + running).T
        scale = self._shallow.scale
        terms = y.size + len(i) + 64
        relative = gamma(terms) + _EVALUATION
        slack = scale * relative * float(added @ width ** np.arange(5)) + TINY
        return _Block(centre, edges - centre, scale * pieces, slack)


def _quartics(r: np.ndarray) -> np.ndarray:
    """Coefficients `[5, n]` of `|r0 + r1 τ + r2 τ²|²`, from `[3, n, q]`."""
    r0, r1, r2 = r
    return np.stack(
        [
            (r0 * r0).sum(axis=1),
            2 * (r0 * r1).sum(axis=1),
            (r1 * r1 + 2 * r0 * r2).sum(axis=1),
            2 * (r1 * r2).sum(axis=1),
            (r2 * r2).sum(axis=1),
        ]
    )


def _turns(examples: np.ndarray) -> Iterator[np.ndarray]:
    """Indices of the first event of every example, of the second, and so on."""
    if not len(examples):
        return
    order = np.argsort(examples, kind="stable")
    ordered = examples[order]
    first = np.concatenate([[True], ordered[1:] != ordered[:-1]])
    place = np.arange(len(order))
    rank = place - np.maximum.accumulate(np.where(first, place, 0))
    by_rank = np.argsort(rank, kind="stable")
    ends = np.cumsum(np.bincount(rank))
    for left, right in zip([0, *ends[:-1]], ends, strict=True):
        yield order[by_rank[left:right]]


class _Search:
    """The largest value found so far, over all blocks."""

    def __init__(self) -> None:
        self.best, self.argmax, self.slack, self.pieces = -math.inf, 0.0, 0.0, 0

    def add(self, block: _Block) -> None:
        """Maximise over one block; what is not resolved goes to the slack."""
        left, right = block.edges[:-1], block.edges[1:]
        bernstein = _bernstein(block.quartics, left, right - left)
        tolerance = max(block.slack, 2.0**-50 * float(np.abs(bernstein).max()))
        for _ in range(_HALVINGS):
            self.pieces += len(left)
            self._look(block.centre, bernstein[:, 0], left)
            self._look(block.centre, bernstein[:, 4], right)
            open_ = bernstein.max(axis=1) > self.best + tolerance
            if not open_.any():
                break
            left, right = left[open_], right[open_]
            middle = (left + right) / 2
            first, second = _halve(bernstein[open_])
            bernstein = np.concatenate([first, second])
            left, right = np.concatenate([left, middle]), np.concatenate([middle, right])
        unresolved = max(tolerance, float(bernstein.max()) - self.best)
        self.slack = max(self.slack, 2 * block.slack + unresolved)

    def _look(self, centre: float, values: np.ndarray, at: np.ndarray) -> None:
        where = int(values.argmax())
        if values[where] > self.best:
            self.best = float(values[where])
            self.argmax = min(1.0, max(0.0, centre + float(at[where])))


def _bernstein(quartics: np.ndarray, left: np.ndarray, width: np.ndarray) -> np.ndarray:
    """Bernstein coefficients `[P, 5]` of quartics over `[left, left + width]`."""
    a0, a1, a2, a3, a4 = quartics.T
    x, w = left, width
    c0 = a0 + x * (a1 + x * (a2 + x * (a3 + x * a4)))
    c1 = w * (a1 + x * (2 * a2 + x * (3 * a3 + x * 4 * a4)))
    c2 = w**2 * (a2 + x * (3 * a3 + x * 6 * a4))
    c3 = w**3 * (a3 + x * 4 * a4)
    c4 = w**4 * a4
    return np.stack(
        [
            c0,
            c0 + c1 / 4,
            c0 + c1 / 2 + c2 / 6,
            c0 + 3 * c1 / 4 + c2 / 2 + c3 / 4,
            c0 + c1 + c2 + c3 + c4,
        ],
        axis=1,
    )


def _halve(bernstein: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bernstein coefficients of both halves, by de Casteljau's averages."""
    row, left, right = bernstein, [bernstein[:, 0]], [bernstein[:, -1]]
    while row.shape[1] > 1:
        row = (row[:, :-1] + row[:, 1:]) / 2
        left.append(row[:, 0])
        right.append(row[:, -1])
    return np.stack(left, axis=1), np.stack(right[::-1], axis=1)
