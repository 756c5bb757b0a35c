"""How many examples a bound goes through at a time, and the memory that takes."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

CHUNK_BYTES = 18 * 2**20
"""Float64 bytes of the largest tensor of a chunk, at most, on a CPU.

Small enough to stay near its cache, large enough that the weights are seldom read.
"""

EVALUATED_BYTES = 3 * 2**20
"""The same of a plain evaluation, whose convolutions in float64 unfold all inputs of a chunk."""

SHARE_OF_GPU = 2.0**-7
"""`CHUNK_BYTES` of a GPU, as a share of its memory: it is idle where there is little to work on."""

MOST, MOST_ON_GPU = 4096, 2**17
"""Examples of a chunk, at most."""

KEPT = 31 * 2**20
"""Bytes of a block up to which the allocator is to keep what is freed, just below glibc's limit."""


@functools.cache
def keep_memory() -> None:
    """Let this process keep the memory of a chunk, where its allocator is glibc's.

    A bound makes and drops thousands of tensors of some megabytes. glibc hands such blocks back to
    the system, which clears them page by page when they are asked for again, until a block of
    their size was freed: so one is freed here, and from then on twice its size is kept.
    """
    block = torch.empty(KEPT, dtype=torch.uint8)
    del block


def chunk_size(objective: Any, room: int = CHUNK_BYTES) -> int:
    """Examples a chunk, from the largest tensor that the model makes of one example.

    Args:
        objective: whose criterion's split is cut.
        room: float64 bytes of that tensor, on a CPU.
    """
    split = objective.splits[objective.criterion.split]
    inputs, _ = split.select(slice(0, 1))
    arguments = inputs if isinstance(inputs, tuple) else (inputs,)
    with torch.no_grad(), _Largest() as largest:
        objective.model(*arguments)
    numbers = max(largest.numbers, *(tensor.numel() for tensor in arguments), 1)
    most, device = MOST, arguments[0].device
    if device.type == "cuda":
        room = int(torch.cuda.get_device_properties(device).total_memory * SHARE_OF_GPU)
        most = MOST_ON_GPU
    return max(1, min(most, room // (8 * numbers)))


class _Largest(TorchFunctionMode):
    """Records the size of the largest tensor that any torch function returns."""

    numbers = 0

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            self.numbers = max(self.numbers, result.numel())
        return result
