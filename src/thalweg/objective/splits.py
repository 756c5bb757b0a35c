"""Data: named splits of examples, in memory, in a seeded order."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from thalweg.errors import InputError

Inputs = Tensor | tuple[Tensor, ...]


class Split:
    """Examples `(inputs, target)` held in memory, shuffled once by a seed.

    The order does not change a mean; shuffling makes every leading part of the split a fair
    sample of it, so that a point far above the threshold is refused after a few examples.

    Args:
        name: ``"train"`` or ``"test"``.
        inputs: tensors `[n, ...]`, as many as the model's forward takes.
        target: `[n, ...]`.

    Example:
        >>> split = Split("train", (torch.zeros(10, 3),), torch.zeros(10))
        >>> len(split), [len(target) for _, target in split.chunks(4)]
        (10, [4, 4, 2])
    """

    def __init__(self, name: str, inputs: tuple[Tensor, ...], target: Tensor) -> None:
        self.name = name
        self.inputs = inputs
        self.target = target

    @classmethod
    def of(cls, name: str, data: Any, seed: int) -> Split:
        """Gather a pair of tensors, or a re-iterable of batches such as a ``DataLoader``.

        Args:
            name: of the split.
            data: ``(inputs, target)``, inputs one tensor or a tuple of them; or an iterable of
                such pairs that can be iterated again with the same examples in any order.
            seed: of the order.

        Raises:
            InputError: if the data are empty, of unequal lengths, not finite, or differ from one
                pass to the next.
        """
        if _is_pair(data):
            inputs, target = _as_tuple(data[0]), data[1]
        else:
            inputs, target = _gather(name, data)
        if any(t.ndim == 0 for t in (*inputs, target)):
            raise InputError(
                f"expected tensors [n, ...] with examples first in split '{name}', got a scalar"
            )
        lengths = [len(t) for t in (*inputs, target)]
        if len(set(lengths)) != 1:
            raise InputError(
                f"expected as many targets as inputs in split '{name}', got lengths {lengths}"
            )
        if lengths[0] == 0:
            raise InputError(f"expected at least one example in split '{name}', got none")
        for tensor in (*inputs, target):
            if tensor.is_floating_point() and not torch.isfinite(tensor).all():
                raise InputError(f"expected finite data in split '{name}', got NaN or inf")
        order = torch.randperm(lengths[0], generator=torch.Generator().manual_seed(seed))
        return cls(name, tuple(t.detach()[order] for t in inputs), target.detach()[order])

    def __len__(self) -> int:
        return len(self.target)

    def to(self, device: torch.device, dtype: torch.dtype) -> Split:
        """The split on a device, its floating tensors in `dtype`."""

        def move(tensor: Tensor) -> Tensor:
            return tensor.to(device, dtype if tensor.is_floating_point() else tensor.dtype)

        return Split(self.name, tuple(map(move, self.inputs)), move(self.target))

    def take(self, examples: int) -> Split:
        """The first `examples` of the split: a fair sample, since the order is random."""
        return Split(self.name, tuple(t[:examples] for t in self.inputs), self.target[:examples])

    def select(self, index: Tensor | slice) -> tuple[Inputs, Tensor]:
        """Inputs and targets of some examples."""
        inputs = tuple(t[index] for t in self.inputs)
        return (inputs[0] if len(inputs) == 1 else inputs), self.target[index]

    def chunks(self, size: int, first: tuple[int, ...] = ()) -> Iterator[tuple[Inputs, Tensor]]:
        """The whole split in order, `size` examples at a time; the last chunk may be smaller.

        Args:
            size: of a chunk.
            first: sizes of the first chunks, where they are smaller.
        """
        start, smaller = 0, [min(size, look) for look in first]
        while start < len(self):
            end = start + (smaller.pop(0) if smaller else size)
            yield self.select(slice(start, end))
            start = end

    def blocks(self, size: int) -> list[tuple[Inputs, Tensor]]:
        """The split in its order, cut into blocks of one size; a smaller rest is left out.

        Args:
            size: examples of a block, at most those of the split.
        """
        return [
            self.select(slice(start, start + size))
            for start in range(0, len(self) - size + 1, size)
        ]

    def minibatches(self, size: int | None, seed: int) -> Iterator[tuple[Inputs, Tensor]]:
        """Endless minibatches, drawn without replacement epoch by epoch, seeded.

        Args:
            size: examples a minibatch; None: always the whole split.
            seed: of the order of all epochs.
        """
        if size is None or size >= len(self):
            while True:
                yield self.select(slice(None))
        generator = torch.Generator().manual_seed(seed)
        while True:
            order = torch.randperm(len(self), generator=generator).to(self.target.device)
            for start in range(0, len(self) - size + 1, size):
                yield self.select(order[start : start + size])

    def fingerprint(self) -> str:
        """SHA-256 of the data, in the split's order."""
        digest = hashlib.sha256()
        for tensor in (*self.inputs, self.target):
            digest.update(f"{tensor.dtype}{list(tensor.shape)}".encode())
            digest.update(tensor.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()


def _is_pair(data: Any) -> bool:
    return (
        isinstance(data, tuple | list)
        and len(data) == 2
        and isinstance(data[1], Tensor)
        and (isinstance(data[0], Tensor) or _all_tensors(data[0]))
    )


def _all_tensors(data: Any) -> bool:
    return isinstance(data, tuple | list) and all(isinstance(t, Tensor) for t in data)


def _as_tuple(inputs: Any) -> tuple[Tensor, ...]:
    return (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)


def _gather(name: str, batches: Iterable[Any]) -> tuple[tuple[Tensor, ...], Tensor]:
    """Join the batches of one pass; a second pass must bring the same examples.

    The examples are put in the order of their digests, so that a loader that shuffles gives the
    same split every time.

    Raises:
        InputError: if it does not.
    """
    inputs, target = _one_pass(name, batches)
    digests, again = _digests(inputs, target), _digests(*_one_pass(name, batches))
    if sorted(digests) != sorted(again):
        raise InputError(
            f"expected the same examples of split '{name}' in every pass, got others in the "
            "second: give tensors, or a loader without augmentation, sampling or drop_last"
        )
    order = torch.tensor(sorted(range(len(digests)), key=digests.__getitem__))
    return tuple(t[order] for t in inputs), target[order]


def _one_pass(name: str, batches: Iterable[Any]) -> tuple[tuple[Tensor, ...], Tensor]:
    try:
        gathered = list(batches)
    except TypeError as error:
        raise InputError(
            f"expected (inputs, target) tensors or an iterable of such batches for split "
            f"'{name}', got {type(batches).__name__}"
        ) from error
    if not gathered:
        raise InputError(
            f"expected at least one example in split '{name}', got none in this pass: an "
            "iterable must be one that can be iterated again"
        )
    if not all(_is_pair(batch) for batch in gathered):
        raise InputError(
            f"expected batches (inputs, target) of tensors in split '{name}', got "
            f"{type(gathered[0]).__name__}"
        )
    try:
        columns = list(zip(*(_as_tuple(batch[0]) for batch in gathered), strict=True))
        inputs = tuple(torch.cat(column) for column in columns)
        target = torch.cat([batch[1] for batch in gathered])
    except (RuntimeError, ValueError) as error:
        raise InputError(
            f"expected batches of equal widths in split '{name}', got tensors that do not join "
            f"({str(error).splitlines()[0]}): wrap a data set of single examples in a DataLoader"
        ) from error
    if len({len(t) for t in (*inputs, target)}) != 1:
        raise InputError(
            f"expected as many targets as inputs in split '{name}', got single examples or "
            "unequal lengths: wrap a data set of single examples in a DataLoader"
        )
    return inputs, target


def _digests(inputs: tuple[Tensor, ...], target: Tensor) -> list[bytes]:
    """One digest an example."""
    columns = [t.detach().cpu().contiguous().numpy() for t in (*inputs, target)]
    return [
        hashlib.blake2b(b"".join(row.tobytes() for row in rows), digest_size=16).digest()
        for rows in zip(*columns, strict=True)
    ]
