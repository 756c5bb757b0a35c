"""Jacobians of small recurrent layers, one example at a time, so that they stay in the cache.

What :mod:`thalweg.certify.jacobians` derives, in its letters: A, and A' of the step before, φ the
factors of blocks, ψ those of states. Sums are taken in the type of the blocks, all else in float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from thalweg.certify.loops import compiled, formula

WIDEST = 64
"""Units of a layer above which products of many matrices at once are faster."""


@formula
def _row(factors: Any, blocks: Any, gate: Any, state: Any, i: Any, r: Any, row: Any) -> None:
    """Row r of A for example i."""
    for c in range(len(row)):
        row[c] = 0
    for q in range(len(factors)):
        weight = blocks.dtype.type(factors[q, i, r])
        if gate[q] >= 0:
            block = blocks[gate[q], r]
            for c in range(len(row)):
                row[c] += weight * block[c]
        elif state[q] == 0:
            row[r] += weight


@formula
def _absolute(
    factors: Any, state: Any, bounds: Any, fresh: Any, i: Any, size: Any, absolute: Any, spent: Any
) -> None:
    """Sums over the factors of example i: of themselves, with all bounds, with those of states."""
    for r in range(len(size)):
        size[r], absolute[r], spent[r] = 0.0, 0.0, fresh[i, r]
    for q in range(len(factors)):
        for r in range(len(size)):
            share = abs(factors[q, i, r])
            size[r] += share
            absolute[r] += share * bounds[q, i, r]
        if state[q] > 0:
            for r in range(len(size)):
                spent[r] += abs(factors[q, i, r]) * bounds[q, i, r]


@compiled(sums=True)
def once(
    factors: Any, blocks: Any, places: Any, bounds: Any, fresh: Any, noise: Any, given: Any,
    charges: Any, jacobian: Any, found: Any,
) -> float:  # fmt: skip
    """One step: |A| e_0 + Σ |ψ| e_i + fresh; A is kept.

    Args:
        factors: `[f, n, m]`, φ, then ψ.
        blocks: `[gates, m, m]`, recurrent weights at the centre.
        places: `[f]` twice, the block behind each factor, or -1; the state behind it, or -1.
        bounds: `[f, n, m]`, of what each factor stands before.
        fresh: `[n, m]`, what does not come from there.
        noise: `[n, m]`, known of the number already.
        given: `[n, m]`, e_0 in the type of the blocks, rounded up.
        charges: relative error of a sum of non-negative products, and of the Jacobian by its
            absolute terms; what underflow takes of a sum where factors and errors are at most one;
            unit roundoff of the numbers, and more than one of their operations loses to underflow.
        jacobian: `[n, m, m]`, for A.
        found: `[3, n, m]`, for the lesser noise, for what does not come from the first state, and
            for all of it by absolute terms.

    Returns:
        The largest sum of absolute factors of a number.
    """
    (gate, state), (slack, rounding, lost, u, tiny) = places, charges
    known, rest, loose = found[0], found[1], found[2]
    count, n, m = factors.shape
    grow = 1 + (4 * count + 32) * u
    size, absolute, spent = np.empty(m), np.empty(m), np.empty(m)
    largest = 0.0
    for i in range(n):
        _absolute(factors, state, bounds, fresh, i, size, absolute, spent)
        all_given = 0.0
        for c in range(m):
            all_given += given[i, c]
        for r in range(m):
            row = jacobian[i, r]
            _row(factors, blocks, gate, state, i, r, row)
            total = given[i, 0] * 0
            for c in range(m):
                total += abs(row[c]) * given[i, c]
            least = spent[r] + absolute[r] * rounding + total * (1 + slack)
            least = (least + lost * (1 + size[r]) * (1 + all_given)) * grow + tiny
            rest[i, r] = spent[r] * grow + tiny
            loose[i, r] = (absolute[r] + spent[r]) * grow + tiny
            known[i, r] = _less(noise[i, r], least)
            largest = max(largest, size[r])
    return largest


@compiled(sums=True)
def jacobians(factors: Any, blocks: Any, places: Any, jacobian: Any) -> None:
    """A of every example.

    Args:
        factors: see :func:`once`.
        blocks: see there.
        places: see there.
        jacobian: `[n, m, m]`, for A.
    """
    gate, state = places
    n, m, _ = jacobian.shape
    for i in range(n):
        for r in range(m):
            _row(factors, blocks, gate, state, i, r, jacobian[i, r])


@compiled(sums=True)
def twice(
    factors: Any, places: Any, bounds: Any, fresh: Any, noise: Any, earlier: Any, jacobian: Any,
    product: Any, second: Any, first_rest: Any, second_rest: Any, given: Any, before: Any,
    charges: Any, found: Any,
) -> float:  # fmt: skip
    """Two steps: |A A' + diag(ψ) A'_1| e_00 + |A| rest_0 + |ψ| rest_1 + fresh.

    Args:
        factors: see :func:`once`.
        places: see there.
        bounds: see there.
        fresh: see there.
        noise: see there.
        earlier: `[f, n, m]`, bounds of what each factor stands before, by absolute terms of both.
        jacobian: `[n, m, m]`, A.
        product: `[n, m, m]`, A A'; it is overwritten.
        second: `[n, m, m]`, A'_1 of the second state; empty where there is none.
        first_rest: `[n, m]`, rest_0 in the type of the blocks, rounded up.
        second_rest: `[n, m]`, rest_1; empty where there is none.
        given: `[n, m]`, e_00 in the type of the blocks, rounded up.
        before: largest sum of absolute factors of the step before.
        charges: see there.
        found: see there.

    Returns:
        The largest sum of absolute factors of a number.
    """
    (_, state), (slack, rounding, lost, u, tiny) = places, charges
    known, rest, loose = found[0], found[1], found[2]
    count, n, m = factors.shape
    grow = 1 + (4 * count + 48) * u
    size, absolute, spent = np.empty(m), np.empty(m), np.empty(m)
    twofold, direct = np.empty(m), np.empty(m)
    largest = 0.0
    for i in range(n):
        _absolute(factors, state, bounds, fresh, i, size, absolute, spent)
        _absolute(factors, state, earlier, fresh, i, size, twofold, direct)
        all_given = 0.0
        for c in range(m):
            all_given += given[i, c] + first_rest[i, c]
        for r in range(m):
            least = float(fresh[i, r])
            for q in range(count):
                if state[q] > 0:
                    least += abs(factors[q, i, r]) * second_rest[i, r]
                    weight = product.dtype.type(factors[q, i, r])
                    for c in range(m):
                        product[i, r, c] += weight * second[i, r, c]
            once_back, twice_back = given[i, 0] * 0, given[i, 0] * 0
            for c in range(m):
                once_back += abs(jacobian[i, r, c]) * first_rest[i, c]
                twice_back += abs(product[i, r, c]) * given[i, c]
            least += twofold[r] * rounding + (once_back + twice_back) * (1 + slack)
            least = (least + lost * (1 + size[r]) * (1 + before) * (1 + all_given)) * grow + tiny
            rest[i, r] = spent[r] * grow + tiny
            loose[i, r] = (absolute[r] + spent[r]) * grow + tiny
            known[i, r] = _less(noise[i, r], least)
            largest = max(largest, size[r])
    return largest


@formula
def _less(noise: Any, found: Any) -> Any:
    """The lesser; infinite where neither is a number."""
    if found < noise or noise != noise:
        noise = found
    return noise if noise == noise else np.inf
