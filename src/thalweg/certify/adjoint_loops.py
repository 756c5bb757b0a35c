"""Sums over errors, carried back over one step of a recurrent layer, in loops for the CPU.

What :mod:`thalweg.certify.adjoint` derives, in its letters. Sums are taken in the type of the
numbers.
"""

from __future__ import annotations

from typing import Any

from thalweg.certify.loops import compiled


@compiled(sums=True)
def weigh(g: Any, charged: Any, found: Any) -> None:
    """Σ_j |g_j| charged_j of each row.

    Args:
        g: `[n, m]`.
        charged: `[n, m]`.
        found: `[n]`, for the sums.
    """
    for i in range(len(g)):
        total = g[i, 0] * 0
        for j in range(g.shape[1]):
            total += abs(g[i, j]) * charged[i, j]
        found[i] = total


@compiled(sums=True)
def back(
    g: Any, charged: Any, factors: Any, places: Any, found: Any, through: Any, direct: Any
) -> None:
    """What a step adds to the sums, and g J but for the product with the weights.

    Args:
        g: `[n, m]`, of one state at the end of the step.
        charged: `[n, m]`, what counts of its error in the step.
        factors: `[f, n, m]`.
        places: `[f]` twice, the block behind each factor, or -1; the state behind it, or -1.
        found: `[n]`, to which Σ |g| charged is added.
        through: `[n, gates m]`, to which g times the factor of each block is added.
        direct: `[states, n, m]`, to which g times the factor of each state is added.
    """
    gate, state = places
    n, m = g.shape
    for i in range(n):
        total = g[i, 0] * 0
        for j in range(m):
            total += abs(g[i, j]) * charged[i, j]
        found[i] += total
        for q in range(len(factors)):
            if gate[q] >= 0:
                row = through[i, gate[q] * m : (gate[q] + 1) * m]
            else:
                row = direct[state[q], i]
            for j in range(m):
                row[j] += g[i, j] * factors[q, i, j]
