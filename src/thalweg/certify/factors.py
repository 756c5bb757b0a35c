"""How errors within a step of a recurrent network depend on those with which it began."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor


class Factors(Mapping[int, Tensor]):
    """What stands before each of the errors with which a step began, `[n, m]` each.

    Keys are k for the error of the first state, handed on by block k of the recurrent weights, and
    `-1 - j` for that of state j itself; blocks come first.

    Args:
        order: keys in order; by default there is none.
        block: `[f, n, m]`, the factor of each.

    Example:
        >>> one, other = (Factors((key,), torch.ones(1, 2, 3)) for key in (0, -1))
        >>> both = combined(one, None, other, torch.full((2, 3), 2.0))
        >>> both.order, float(both[-1].sum())
        ((0, -1), 12.0)
    """

    def __init__(self, order: tuple[int, ...] = (), block: Tensor | None = None) -> None:
        self.order = order
        self.block = torch.empty(0, 0, 0) if block is None else block

    def __getitem__(self, key: int) -> Tensor:
        if key not in self.order:
            raise KeyError(key)
        return self.block[self.order.index(key)]

    def __iter__(self) -> Iterator[int]:
        return iter(self.order)

    def __len__(self) -> int:
        return len(self.order)

    def scaled(self, by: Tensor) -> Factors:
        """Of numbers that are `[n, m]` times as large."""
        return Factors(self.order, self.block * by) if self.order else self

    @property
    def places(self) -> tuple[np.ndarray, np.ndarray]:
        """Block of the weights and state behind each factor, -1 for none."""
        return _places(self.order)


def combined(x: Factors, v: Tensor | None, y: Factors, w: Tensor | None) -> Factors:
    """Of a number v times the one plus w times the other; None for one."""
    x, y = (each if by is None else each.scaled(by) for each, by in ((x, v), (y, w)))
    if not (x and y):
        return x or y
    if x.order == y.order:
        return Factors(x.order, x.block + y.block)
    order = tuple(sorted({*x.order, *y.order}, key=lambda key: (key < 0, abs(key))))
    one, other = (dict(zip(each.order, each.block.unbind(), strict=True)) for each in (x, y))
    rows = [
        one[key] + other[key]
        if key in one and key in other
        else (one if key in one else other)[key]
        for key in order
    ]
    return Factors(order, torch.stack(rows))


@functools.cache
def _places(order: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    return (
        np.array([key if key >= 0 else -1 for key in order], dtype=np.int64),
        np.array([-1 if key >= 0 else -1 - key for key in order], dtype=np.int64),
    )
