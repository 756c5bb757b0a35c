"""Models by number, in memory up to a limit and beyond it in a file that vanishes with them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from thalweg.parameters import IN_MEMORY, RowFile


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

    def __init__(self, size: int, dtype: torch.dtype, memory: int = IN_MEMORY) -> None:
        self._size = size
        self._dtype = dtype
        self._limit = max(1, memory // max(1, size * dtype.itemsize))
        self._rows: list[Tensor] = []
        self._file: RowFile | None = None

    def add(self, theta: Tensor) -> int:
        """Keep a copy of a model; its number."""
        if len(self._rows) < self._limit:
            self._rows.append(theta.detach().to("cpu", copy=True))
            return len(self._rows) - 1
        if self._file is None:
            self._file = RowFile(self._size, self._dtype)
        return self._limit + self._file.append(theta)

    def __getitem__(self, number: int) -> Tensor:
        if number < self._limit or self._file is None:
            return self._rows[number]
        return self._file[number - self._limit]

    def __len__(self) -> int:
        return len(self._rows) + self.parked

    @property
    def parked(self) -> int:
        """How many models lie on disk."""
        return 0 if self._file is None else len(self._file)

    @property
    def held(self) -> int:
        """Bytes of models in memory."""
        return sum(row.nbytes for row in self._rows)

    def stacks(self, strings: Sequence[Sequence[int]]) -> list[Tensor]:
        """The models of each string as one `[n, p]` tensor, on disk if all are large together.

        Args:
            strings: numbers of the models of each.
        """
        if sum(map(len, strings)) <= self._limit:
            return [torch.stack([self[number] for number in string]) for string in strings]
        file = RowFile(self._size, self._dtype)
        for string in strings:
            for number in string:
                file.append(self[number])
        return list(file.mapped().split([len(string) for string in strings]))
