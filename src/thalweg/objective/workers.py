"""Threads over models: a core for a group of models, not all cores for every small operation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def in_threads(work: Callable[[_Item], _Result], items: Sequence[_Item]) -> list[_Result]:
    """Carry out independent work in as many threads as torch uses, each on one core.

    Operations that take less than a millisecond gain little from being cut in two, and wait for
    the slower half every time.

    Args:
        work: takes one item; it must not share state that it changes.
        items: what to do.

    Returns:
        The results, in order.

    Example:
        >>> in_threads(lambda n: n + 1, [1, 2, 3])
        [2, 3, 4]
    """
    threads = torch.get_num_threads()
    if threads == 1 or len(items) < threads:
        return [work(item) for item in items]
    # The number of threads is a setting of the thread that makes it: the caller keeps its own.
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        results = list(pool.map(work, items))
    torch.set_num_threads(threads)  # what threads that start later begin with
    return results
