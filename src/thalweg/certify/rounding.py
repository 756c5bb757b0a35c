"""A-priori bounds of rounding errors in float64.

What is covered: every certificate is a statement about the function that the stored weights and
data define **in exact arithmetic**. The arithmetic that computes the bound is float64; each
operation widens its remainder by a bound of its own rounding error, after Higham, *Accuracy and
Stability of Numerical Algorithms* (2002), Sections 2.2 and 3.1:

- one operation errs by at most ``u`` relative, ``u = 2**-53``;
- a sum or an inner product of ``n`` terms, in any order of summation and with or without fused
  multiply-add, errs by at most ``gamma(n)`` times the sum of the absolute terms;
- torch's elementary functions (exp, log, tanh, erf, ...) are *assumed* to err by at most 4 units
  in the last place, ``FUNCTION`` relative, which is more than their libraries (SLEEF, libm, CUDA)
  state;
- matrix products in float64 are assumed to be computed as conventional inner products (no Strassen
  scheme; no float64 emulated by shorter numbers, which cuBLAS does only where it is told to);
  convolutions are such products (:mod:`thalweg.certify.inner_products`);
- in large layers, what is of first or second order in the halfwidth, absolute products, and on wide
  pieces values, too, may be computed in float32 on x86 processors, where oneDNN convolves directly
  (:func:`thalweg.certify.single.single_is_safe`): then `u = 2**-24`;
- loops that Numba compiles (:mod:`thalweg.certify.loops`) are assumed to do what IEEE 754 says of
  each operation; those over Jacobians may add up in any order, with or without fused multiply-add;
- underflow, gradual or to zero, is absorbed by ``TINY``.

Conversions from float32 to float64 are exact. Remainders are non-negative, so that the rounding of
their own computation is a relative error, absorbed by :func:`inflate`.
"""

from __future__ import annotations

import torch
from torch import Tensor

UNIT = 2.0**-53
"""Unit roundoff `u` of float64."""

FUNCTION = 8 * UNIT
"""Assumed relative error of torch's elementary functions: 4 units in the last place."""

TINY = 2.0**-1000
"""More than the sum of all underflow errors of one operation."""

ULTIMATE = 2.0**-40
"""Generous relative widening, for quantities of second order whose exact size does not matter."""


UNIT32, TINY32, ULTIMATE32 = 2.0**-24, 2.0**-50, 2.0**-18
"""`UNIT`, `TINY` and `ULTIMATE` of float32."""


_TINY = torch.tensor(TINY, dtype=torch.float64), torch.tensor(TINY32)


def unit(dtype: torch.dtype) -> float:
    """Unit roundoff of float32 or float64.

    Args:
        dtype: one of the two.
    """
    return UNIT32 if dtype == torch.float32 else UNIT


def tiny(dtype: torch.dtype) -> float:
    """More than the sum of all underflow errors of one operation; see `TINY`.

    Args:
        dtype: float32 or float64.
    """
    return TINY32 if dtype == torch.float32 else TINY


def ultimate(dtype: torch.dtype) -> float:
    """A generous relative widening; see `ULTIMATE`.

    Args:
        dtype: float32 or float64.
    """
    return ULTIMATE32 if dtype == torch.float32 else ULTIMATE


def gamma(terms: int, unit: float = UNIT) -> float:
    """Higham's gamma_n = n u / (1 - n u), rounded up.

    Args:
        terms: number `n` of successive roundings.
        unit: u.

    Returns:
        The bound of the relative error of a sum or product of `n` terms.

    Example:
        >>> gamma(10) > 10 * 2.0**-53
        True
    """
    accumulated = terms * unit
    return accumulated / (1 - accumulated) * (1 + 8 * UNIT)


def inflate(remainder: Tensor, operations: int = 8) -> Tensor:
    """Make up, in place, for the rounding of a remainder's own computation.

    Args:
        remainder: non-negative, float32 or float64, got by at most `operations` successive
            roundings a term.
        operations: depth of that computation.

    Returns:
        The same tensor, at least as large as the exact result.
    """
    if remainder.dtype == torch.float32:  # where the factor itself is rounded, too
        tiny, factor = _TINY[1], 1 + gamma(operations + 4, UNIT32)
    else:
        tiny, factor = _TINY[0], 1 + gamma(operations + 2)
    # One operation: half the time of a product and a sum.
    return torch.add(tiny, remainder, alpha=factor, out=remainder)


def charge(remainder: Tensor | None, units: float, *results: Tensor | None) -> Tensor:
    """Widen a remainder by `units` roundoffs of each of some results.

    Args:
        remainder: what has been collected so far, or None; it is not changed.
        units: number of roundoffs of size `u` relative.
        results: the computed tensors, of one shape; None stands for zero.

    Returns:
        A new tensor `remainder + units * u * sum(|results|)`, rounded up.

    Raises:
        ValueError: if there is neither a remainder nor a result.

    Example:
        >>> import torch
        >>> bool(charge(None, 1, torch.ones((), dtype=torch.float64)) > 2.0**-53)
        True
    """
    total = remainder
    for result in results:
        if result is None:
            continue
        if total is None:
            total = result.abs().mul_(units * UNIT)
        else:
            total = total.add(result.abs(), alpha=units * UNIT)
    if total is None:
        raise ValueError("expected a remainder or at least one result, got neither")
    if total is remainder:
        total = total.clone()
    return inflate(total, 2 * len(results) + 2)
