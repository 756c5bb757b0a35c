"""Products of the data with a layer that sees them, shared by all pieces of a segment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from thalweg.certify.rounding import gamma, inflate
from thalweg.certify.rules_linear import norms
from thalweg.certify.taylor import TaylorModel


@dataclass(frozen=True)
class Chunk:
    """Examples that go through the model together, as a rule may recognize them.

    Attributes:
        inputs: the tensors handed to the model, `[m, ...]` each.
        ids: `[m]`, which examples of the split they are.
        total: number of all examples.
    """

    inputs: tuple[Tensor, ...]
    ids: Tensor
    total: int

    def find(self, x: Tensor) -> int | None:
        """Which of the inputs a tensor is, in any shape `[m, ...]`; None if it is none of them."""
        for i, own in enumerate(self.inputs):
            same = x.data_ptr() == own.data_ptr() and x.numel() == own.numel()
            whole = x.is_contiguous() and own.is_contiguous() and x._version == own._version
            if same and whole and x.ndim > 1 and len(x) == len(own):
                return i
        return None


class Products:
    """Products of the data with a layer's weights, shared by all pieces of one segment.

    On a segment `W(t) = W + (t - 1/2) D` a layer that sees the data themselves is affine in t:
    `x W` and `x D` are computed once an example. Only data are recognized, and kept as long as
    the room allows.

    Args:
        middle: weight `[m, n]` at t = 1/2.
        direction: `[m, n]`, its change along the whole segment.
        spread: `[m, n]`, how far the exact weights may be from that line, for every t.
        room: a list with the number of elements that may still be kept, shared among layers.
    """

    def __init__(self, middle: Tensor, direction: Tensor, spread: Tensor, room: list[int]) -> None:
        self._weights = torch.cat([middle, direction]).t()
        terms = middle.shape[1]
        self._error = norms((middle, direction)) * gamma(2 * terms + 16) + norms((spread,))
        self._room = room
        self._kept: dict[tuple[Any, ...], _Kept | None] = {}

    def at(
        self, offset: float, halfwidth: float, chunk: Chunk
    ) -> Callable[[Tensor], TaylorModel | None]:
        """The layer on a piece.

        Args:
            offset: t - 1/2 at its centre.
            halfwidth: of the piece.
            chunk: what is going through the model.

        Returns:
            A function of the input that gives the product, or None where nothing is kept.
        """

        def apply(x: Tensor) -> TaylorModel | None:
            which = chunk.find(x)
            if which is None:
                return None
            key = (which, x.shape[1:])
            if key not in self._kept:
                self._kept[key] = self._make(x, chunk.total)
            kept = self._kept[key]
            if kept is None:
                return None
            both, size = kept.rows(x, chunk.ids)
            m = self._weights.shape[1] // 2
            middle, direction = both[..., :m], both[..., m:]
            value = torch.add(middle, direction, alpha=offset)
            return TaylorModel(value, direction * halfwidth, inflate(size * self._error))

        return apply

    def _make(self, x: Tensor, total: int) -> _Kept | None:
        """Room for the products of all examples, if there is any."""
        width = self._weights.shape[1]
        needed = total * (x[0].numel() // x.shape[-1]) * (width + 1)
        if needed > self._room[0]:
            return None
        self._room[0] -= needed
        shape = (total, *x.shape[1:-1])
        return _Kept(
            self._weights,
            x.new_empty(*shape, width),
            x.new_empty(*shape, 1),
            torch.zeros(total, dtype=torch.bool, device=x.device),
        )


@dataclass(frozen=True, eq=False)
class _Kept:
    """Products of the examples seen so far.

    Attributes:
        weights: `[n, 2m]`.
        products: `[total, ..., 2m]`.
        sizes: `[total, ..., 1]`, norms of the data.
        known: `[total]`, bool.
    """

    weights: Tensor
    products: Tensor
    sizes: Tensor
    known: Tensor

    def rows(self, x: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Products and sizes of some examples, computed where they are not known."""
        first, last = int(ids[0]), int(ids[-1])
        # Neighbours are looked at in place; others are copied.
        some = slice(first, last + 1) if last - first + 1 == len(ids) else ids
        if not bool(self.known[some].all()):
            self.products[some] = x @ self.weights
            self.sizes[some] = norms((x,)).unsqueeze(-1)
            self.known[some] = True
        return self.products[some], self.sizes[some]
