"""How many threads PyTorch computes with, in this process and in several side by side.

PyTorch takes all cores. Several processes that each do so spend their time waiting for one
another: the cores are to be shared out. Where the user has set OMP_NUM_THREADS, that is the
number of threads of each process, as it is for PyTorch itself.
"""

from __future__ import annotations

import os

import torch

from thalweg.errors import InputError

VARIABLE = "OMP_NUM_THREADS"
"""What the user may set, and PyTorch reads when it is imported."""

# Of the libraries that may compute beside PyTorch, and read theirs when they are loaded.
_OTHERS = ("MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def available_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):  # not on every system
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def worker_threads(workers: int) -> int:
    """Threads for each of some processes that compute side by side.

    Args:
        workers: how many processes.

    Returns:
        OMP_NUM_THREADS where the user has set it; otherwise an equal share of the cores, at least
        one.

    Raises:
        InputError: if `workers` or OMP_NUM_THREADS is not a positive number.

    Example:
        >>> worker_threads(10_000)
        1
    """
    if workers < 1:
        raise InputError(f"expected at least one worker, got {workers}")
    given = os.environ.get(VARIABLE, "").split(",")[0].strip()  # a list is for nested teams
    if not given:
        return max(1, available_cores() // workers)
    if not given.isascii() or not given.isdigit() or int(given) < 1:
        raise InputError(f"expected a number of threads >= 1 in {VARIABLE}, got '{given}'")
    return int(given)


def use_threads(threads: int) -> None:
    """Compute with so many threads in this process, and in those that it starts.

    It fits the initializer of a pool of processes, which then compute without getting in each
    other's way.

    Args:
        threads: how many.

    Raises:
        InputError: if it is not positive.

    Example:
        >>> from concurrent.futures import ProcessPoolExecutor
        >>> pool = ProcessPoolExecutor(
        ...     2, initializer=use_threads, initargs=(worker_threads(2),)
        ... )
        >>> pool.shutdown()
    """
    if threads < 1:
        raise InputError(f"expected at least one thread, got {threads}")
    for variable in (VARIABLE, *_OTHERS):
        os.environ[variable] = str(threads)
    torch.set_num_threads(threads)
