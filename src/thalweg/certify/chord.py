"""Proofs by chords: the maximum of a convex loss of a smooth network along a segment.

**Theorem.** On a piece [a, b] of the segment let the outputs of the network on example i be g_i(t),
with Lipschitz first derivatives, and let `d` be their second derivatives (almost everywhere). Let
the loss l be convex in the outputs. The criterion is `C(t) = mean_i l(g_i(t))`. For t in [a, b] let
`p_i` be the point at t of the chord from g_i(a) to g_i(b).

1. Each output lies near its chord: `g_i(t) - p_i = -∫ G(t, s) d_i(s) ds`, where Green's function
   `G(t, s) = (min(s, t) - a)(b - max(s, t)) / (b - a) >= 0` has the integral (t - a)(b - t)/2.
2. Convexity, with any subgradient s_i of l at the true output g_i(t): `l(p_i) >= l(g_i) +
   s_i · (p_i - g_i)`, so that `l(g_i(t)) <= l(p_i) - ∫ G(t, s) s_i · d_i(s) ds`. If
   `k_i >= -s_i · d_i` for all subgradients at outputs on the piece and all d_i on the piece, then
   `l(g_i(t)) <= l(p_i) + k_i (t - a)(b - t)/2`. The sign of k_i is free.
3. Convexity again: `l(p_i)` is at most the chord of l(g_i(a)) and l(g_i(b)).
4. The mean over examples, with `K = max(0, mean_i k_i)`:

       C(t) <= (b - t)/(b - a) C(a) + (t - a)/(b - a) C(b) + K (t - a)(b - t)/2.

   With w = b - a and Δ = C(b) - C(a), the parabola on the right is largest at an end if
   `|Δ| >= K w²/2`, else its maximum is `(C(a) + C(b))/2 + K w²/8 + Δ²/(2 K w²)`.

So a proof needs plain values of C at the ends of pieces and one number K a piece. K is bounded for
*boxes* of inputs that hold many examples each (:mod:`thalweg.certify.boxes`), by second-order jets
(:mod:`thalweg.certify.jets`); it depends on the network, not on the number of examples. What is
added to the chord falls with the square of w.

The parabola holds for the exact C; values carry the a-priori error of
:mod:`thalweg.certify.smooth_chain`, added where they bound C and subtracted where they refuse.
The perplexity is the exponential of such a mean, which grows with it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from thalweg.certify.chord_search import Search
from thalweg.certify.chord_segment import Level
from thalweg.certify.pieces import ProvedSegment
from thalweg.certify.rounding import FUNCTION
from thalweg.certify.smooth_chain import SmoothChain
from thalweg.errors import InputError


def applies(objective: Any) -> str | None:
    """Why proofs by chords do not apply to an objective; None if they do.

    They apply to chains of linear layers and smooth activations (sigmoid, tanh, silu, gelu,
    softplus, log-sigmoid) with a convex loss of torch, on inputs of few dimensions.

    Args:
        objective: model, loss, data and criterion.

    Example:
        >>> from torch import nn
        >>> from thalweg.objective import Objective
        >>> x = torch.linspace(-1, 1, 16).reshape(16, 1)
        >>> net = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 1))
        >>> applies(Objective(net, nn.functional.mse_loss, train=(x, x)))
        "'relu' has no continuous derivative, or no bound of its second"
    """
    found = SmoothChain.of(objective)
    return found if isinstance(found, str) else None


def prove_chords(
    objective: Any,
    starts: Tensor,
    ends: Tensor,
    thresholds: Sequence[float | None],
    *,
    max_evaluations: int,
    tolerance: float,
    cuts: Sequence[Sequence[float]] | None = None,
) -> list[ProvedSegment]:
    """Bound the criterion on many straight segments at once.

    Args:
        objective: one to which :func:`applies` has no objection.
        starts: `[k, p]`.
        ends: `[k, p]`.
        thresholds: of each segment: stop as soon as the criterion is proved at most this, or seen
            above it; None: as tight as budget and tolerance allow.
        max_evaluations: of the criterion, of each segment; a curvature counts by its share of
            boxes. The last round may exceed it.
        tolerance: relative to the bound: a smaller gap between the bound and a value that was
            seen is not pursued.
        cuts: of each segment, increasing t in (0, 1) at which its first pieces end, in place of
            one half.

    Returns:
        One record a segment; its bound holds whatever the reason for stopping, which is
        ``"resolution"`` also where a value is not finite.

    Raises:
        InputError: if the route does not apply.

    Example:
        >>> from torch import nn
        >>> from thalweg.objective import Objective
        >>> x = torch.linspace(-1, 1, 16).reshape(16, 1)
        >>> net = nn.Sequential(nn.Linear(1, 1, False), nn.Tanh(), nn.Linear(1, 1, False))
        >>> made = Objective(net, nn.functional.l1_loss, train=(x, 0 * x))
        >>> a, b = torch.tensor([[1.0, 1.0]]), torch.tensor([[1.0, 3.0]])
        >>> found = prove_chords(made, a, b, [2.0], max_evaluations=50, tolerance=1e-3)[0]
        >>> found.reason, found.bound <= 2.0
        ('proved', True)
    """
    chain = SmoothChain.of(objective)
    if isinstance(chain, str):
        raise InputError(
            f"expected a smooth chain with a convex loss on few boxes, got one where {chain}: "
            "prove it by Taylor models"
        )
    if not len(starts):
        return []
    exponential = objective.criterion.name == "perplexity"
    levels = [_logarithm(level) if exponential else level for level in thresholds]
    with torch.no_grad():
        search = Search(
            chain, starts.to(chain.inputs), ends.to(chain.inputs),
            [Level(level, tolerance, max_evaluations) for level in levels],
        )  # fmt: skip
        found = search.run([(0.5,)] * len(starts) if cuts is None else cuts)
    return [_raised(segment) if exponential else segment for segment in found]


def _logarithm(threshold: float | None) -> float | None:
    """A level whose exponential, as bounded below, does not exceed the threshold."""
    if threshold is None:
        return None
    if threshold <= 0:
        return -math.inf
    level = math.log(threshold)
    return level - (1 + abs(level)) * 8 * FUNCTION


def _raised(segment: ProvedSegment) -> ProvedSegment:
    """The record of the exponential of what was bounded."""
    grow = 1 + 2 * FUNCTION
    return ProvedSegment(
        bound=_exp(segment.bound) * grow,
        seen=_exp(segment.seen) / grow,
        refused_at=segment.refused_at,
        pieces=tuple((a, b, _exp(bound) * grow) for a, b, bound in segment.pieces),
        evaluations=segment.evaluations,
        samples=segment.samples,
        reason=segment.reason,
        half=None if segment.half is None else _exp(segment.half),
    )


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf
