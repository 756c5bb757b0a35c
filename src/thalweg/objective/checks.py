"""Cheap checks that model, loss and data make an objective: a repeatable mean over examples."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from thalweg.errors import InputError
from thalweg.objective.splits import Split
from thalweg.objective.strategies import Work

_EXAMPLES = 64


def check_work(work: Work, tensors: dict[str, Tensor], splits: Iterable[Split]) -> None:
    """Evaluate a few examples of every split twice, whole and cut in two.

    Args:
        work: its head returns sums over examples.
        tensors: parameters, and buffers that depend on them.
        splits: the data.

    Raises:
        InputError: if something does not fit, two evaluations differ, or the whole is not the
            sum of its parts.
    """
    for split in splits:
        few = split.take(_EXAMPLES)
        try:
            whole, again = _sums(work, tensors, few), _sums(work, tensors, few)
            sums = [
                torch.stack([_sums(work, tensors, part) for part in parts]).sum(0)
                for parts in (_cut(few, 1), _cut(few, len(few) // 2))
            ]
        except (RuntimeError, ValueError, IndexError, TypeError, AttributeError) as error:
            first = (str(error).splitlines() or [""])[0]
            raise InputError(
                f"expected model, loss and criterion to fit the '{split.name}' data, got "
                f"{type(error).__name__}: {first}"
            ) from error
        if not torch.allclose(whole, again, rtol=1e-6, atol=1e-9, equal_nan=True):
            raise InputError(
                f"expected the same value when evaluated twice on '{split.name}', got "
                f"{whole.tolist()} and {again.tolist()}: the loss is not deterministic; remove "
                "the randomness from the model's evaluation or from the loss"
            )
        if not all(torch.allclose(whole, s, rtol=1e-4, atol=0, equal_nan=True) for s in sums):
            raise InputError(
                f"expected loss and criterion to be means over examples, got other values on "
                f"{len(few)} examples of '{split.name}' than on two parts of them: use "
                "reduction='mean' or 'none', without weights that depend on the batch"
            )


def _sums(work: Work, tensors: dict[str, Tensor], data: Split) -> Tensor:
    with torch.no_grad():
        return work.one(tensors, *data.select(slice(None)))


def _cut(data: Split, first: int) -> list[Split]:
    """A split in two, or whole where it holds one example."""
    if len(data) == 1:
        return [data]
    rest = Split(data.name, tuple(t[first:] for t in data.inputs), data.target[first:])
    return [data.take(first), rest]
