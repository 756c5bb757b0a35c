"""Threads over models: a core for a group of models, not all cores for every small operation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def workers(device: torch.device) -> int:
    """How many threads to work with on a device: a GPU keeps itself busy."""
    return torch.get_num_threads() if device.type == "cpu" else 1


def in_threads(
    work: Callable[[_Item], _Result], items: Sequence[_Item], threads: int
) -> list[_Result]:
    """Carry out independent work in several threads, each on one core.

    Operations that take less than a millisecond gain little from being cut in two, and wait for
    the slower half every time.

    Args:
        work: takes one item; it must not share state that it changes.
        items: what to do.
        threads: how many; with one, the caller's own thread does it all as it is.

    Returns:
        The results, in order.

    Example:
        >>> in_threads(lambda n: n + 1, [1, 2, 3], 2)
        [2, 3, 4]
    """
    if threads == 1 or len(items) < threads:
        return [work(item) for item in items]
    # The number of threads is a setting of the thread that makes it: the caller keeps its own.
    before = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(work, items))
    finally:
        torch.set_num_threads(before)  # what threads that start later begin with
