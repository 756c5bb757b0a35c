"""Models by number, in memory up to a limit and beyond it in a file that vanishes with them."""

from __future__ import annotations

import tempfile

import torch
from torch import Tensor

# Bytes of models kept in memory before further ones are parked on disk.
MEMORY = 1 << 28
# Bytes by which the file grows.
_BLOCK = 1 << 28


class Store:
    """Append-only rows `[p]`, so that memory grows with the beads in flight, not with the string.

    Args:
        size: `p`.
        dtype: of the rows.
        memory: bytes to hold in memory.

    Example:
        >>> store = Store(2, torch.float32, memory=8)
        >>> [store.add(torch.full((2,), float(i))) for i in range(3)]
        [0, 1, 2]
        >>> store[2], store.parked
        (tensor([2., 2.]), 2)
    """

    def __init__(self, size: int, dtype: torch.dtype, memory: int = MEMORY) -> None:
        self._size = size
        self._dtype = dtype
        self._row_bytes = max(1, size * dtype.itemsize)
        self._in_memory = max(1, memory // self._row_bytes)
        self._rows: list[Tensor] = []
        self._block_rows = max(1, _BLOCK // self._row_bytes)
        self._block: Tensor | None = None

    def add(self, theta: Tensor) -> int:
        """Keep a copy of a model; its number."""
        number = len(self._rows)
        if number < self._in_memory:
            self._rows.append(theta.detach().to("cpu", copy=True))
        else:
            row = self._parking(number - self._in_memory)
            row.copy_(theta.detach())
            self._rows.append(row)
        return number

    def __getitem__(self, number: int) -> Tensor:
        return self._rows[number]

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def parked(self) -> int:
        """How many models lie on disk."""
        return max(0, len(self._rows) - self._in_memory)

    def stack(self, numbers: list[int]) -> Tensor:
        """The models of a string as one `[n, p]` tensor, itself on disk if it is large."""
        if len(numbers) <= self._in_memory:
            return torch.stack([self._rows[i] for i in numbers])
        out = self._mapped(len(numbers))
        for row, number in zip(out, numbers, strict=True):
            row.copy_(self._rows[number])
        return out

    def _parking(self, place: int) -> Tensor:
        row = place % self._block_rows
        if row == 0:
            self._block = self._mapped(self._block_rows)
        if self._block is None:
            raise IndexError(place)
        return self._block[row]

    def _mapped(self, rows: int) -> Tensor:
        numbers = rows * self._size
        # A named file, for torch maps by name; sparse, taking space only as rows are written.
        with tempfile.NamedTemporaryFile(prefix="thalweg-") as file:
            file.truncate(numbers * self._dtype.itemsize)
            mapped = torch.from_file(file.name, shared=True, size=numbers, dtype=self._dtype)
        # The file has lost its name, the mapping keeps it: nothing is left if we are killed.
        return mapped.reshape(rows, self._size)
