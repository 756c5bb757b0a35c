"""Stacks `[n, p]` longer than memory: rows in a file without a name, read and mapped."""

from __future__ import annotations

import mmap
import os
import tempfile
import weakref
from collections.abc import Iterator

import torch
from torch import Tensor

from thalweg.errors import InputError

IN_MEMORY = 1 << 28
"""Bytes of a stack up to which it is read into memory; beyond, it lies in a file."""

# Bytes of a mapped stack that may stay in memory behind those who go through it row by row.
_RESIDENT = 1 << 26

# The mapping behind a tensor, by the address of its storage, for as long as the tensor lives.
_mappings: weakref.WeakValueDictionary[int, mmap.mmap] = weakref.WeakValueDictionary()


class RowFile:
    """Append-only rows `[p]` in a file that has no name: nothing is left if we are killed.

    It lies in the folder for temporary files, which the variable TMPDIR names. Rows are written
    and read, not mapped: what has passed through takes no memory, and a full disk is an error
    rather than a signal.

    Args:
        size: `p`.
        dtype: of the rows.

    Example:
        >>> file = RowFile(2, torch.float32)
        >>> [file.append(torch.full((2,), float(i))) for i in range(3)]
        [0, 1, 2]
        >>> file[1], file.mapped()[:, 0]
        (tensor([1., 1.]), tensor([0., 1., 2.]))
    """

    def __init__(self, size: int, dtype: torch.dtype) -> None:
        self._size = size
        self._dtype = dtype
        self._row_bytes = size * dtype.itemsize
        self._rows = 0
        try:
            self._handle, name = tempfile.mkstemp(prefix="thalweg-")
        except OSError as error:
            raise InputError(_no_room(error)) from error
        weakref.finalize(self, os.close, self._handle)
        os.unlink(name)

    def __len__(self) -> int:
        return self._rows

    def append(self, row: Tensor) -> int:
        """Write a row `[p]`; its number.

        Raises:
            InputError: if there is no room.
        """
        own = row.detach().to("cpu", self._dtype).contiguous()
        content = own.numpy().data.cast("B")
        done, start = 0, self._rows * self._row_bytes
        try:
            while done < len(content):
                done += os.pwrite(self._handle, content[done:], start + done)
        except OSError as error:
            raise InputError(_no_room(error)) from error
        self._rows += 1
        return self._rows - 1

    def __getitem__(self, number: int) -> Tensor:
        if not 0 <= number < self._rows:
            raise IndexError(number)
        row = torch.empty(self._size, dtype=self._dtype)
        content = row.numpy().data.cast("B")
        done, start = 0, number * self._row_bytes
        while done < len(content):
            done += os.preadv(self._handle, [content[done:]], start + done)
        return row

    def mapped(self) -> Tensor:
        """All rows so far as one tensor `[n, p]`, read from the file where it is looked at."""
        mapping = mmap.mmap(self._handle, self._rows * self._row_bytes)
        tensor = torch.frombuffer(mapping, dtype=self._dtype)
        _mappings[tensor.untyped_storage().data_ptr()] = mapping
        return tensor.reshape(self._rows, self._size)


def release(stack: Tensor) -> None:
    """Let go of the memory that a mapped stack has come to take; its content stays.

    Pages of a mapped file count as memory of the process from when they are looked at. For any
    other tensor this does nothing.

    Args:
        stack: a tensor from :meth:`RowFile.mapped`, a view of one, or any other.
    """
    mapping = _mappings.get(stack.untyped_storage().data_ptr())
    if mapping is not None and hasattr(mapping, "madvise"):
        mapping.madvise(mmap.MADV_DONTNEED)


def each_row(stack: Tensor) -> Iterator[Tensor]:
    """The rows of a stack in order; of a mapped one, few are in memory at a time.

    Args:
        stack: `[n, p]`.

    Yields:
        Views `[p]`.
    """
    passed = 0
    for row in stack:
        yield row
        passed += row.nbytes
        if passed >= _RESIDENT:
            release(stack)
            passed = 0
    release(stack)


def _no_room(error: OSError) -> str:
    return (
        f"expected room for models in {tempfile.gettempdir()}, got '{error.strerror or error}': "
        "free some space there or name another folder in TMPDIR"
    )
