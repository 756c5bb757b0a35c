"""Formulas of many terms, number by number: one loop on the CPU, torch's operations elsewhere.

Torch makes one pass over memory for each operation of a formula, and waits for memory most of the
time. Here a formula is written once, as a Python function of single numbers. Numba compiles loops
that call it, which take a tenth of the time; handed tensors, on a GPU say, the same function runs
as torch's operations. For both to mean the same, a formula consists of `+ - * /`, comparisons,
`& |`, :func:`abs`, and the functions of this module.

Rounding: loops are compiled to IEEE arithmetic, without reordering; literals are float64, so that
what they make of float32 numbers is rounded to float32 only when it is stored.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import torch
from numba.extending import overload, register_jitable

_OPTIONS: Any = {"error_model": "numpy"}  # 1 / 0 is infinite, as it is for torch


def formula(function: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a function of numbers that loops may call, or anybody with tensors.

    Args:
        function: see the head of the module.
    """
    return register_jitable(inline="always", **_OPTIONS)(function)


def compiled(*, sums: bool = False) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Compile a loop over arrays when it is first called, and keep it for later processes.

    What is kept is compiled again when the file of the loop changes, and for that alone: a formula
    stands in the same file as the loops that call it.

    Args:
        sums: whether sums may be added up in any order, with fused multiply-add.

    Returns:
        A decorator of functions of NumPy arrays and numbers, which write into some of the arrays.
    """
    order: dict[str, Any] = {"fastmath": {"reassoc", "contract", "nsz"}} if sums else {}
    options = {"nogil": True, **_OPTIONS, **order}

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        try:
            return numba.njit(cache=True, **options)(function)
        except RuntimeError:  # neither the package's folder nor the user's cache can be written
            return numba.njit(**options)(function)

    return decorate


def where(condition: Any, one: Any, other: Any) -> Any:
    """One where a condition holds, else the other."""
    return torch.where(condition, one, other)


def larger(one: Any, other: Any) -> Any:
    """The larger of two; not a number where either is none."""
    return torch.maximum(one, other)


@overload(where, jit_options=_OPTIONS)
def _where(condition: Any, one: Any, other: Any) -> Any:
    def pick(condition: Any, one: Any, other: Any) -> Any:
        return one if condition else other

    return pick


@overload(larger, jit_options=_OPTIONS)
def _larger(one: Any, other: Any) -> Any:
    def pick(one: Any, other: Any) -> Any:
        kept = one if other == other else other
        return other if one < other else kept

    return pick
