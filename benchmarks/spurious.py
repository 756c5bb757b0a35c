"""Spurious minima: all runs of gradient descent at once, against a loop over runs."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.measure import machine
from thalweg.theory.descent import LEVEL, TOLERANCE, descend, step_size
from thalweg.theory.safran2018 import initial_students
from thalweg.theory.student_teacher import gradient, objective

_MAX_STEPS = 200_000
_Array = TypeVar("_Array", Tensor, NDArray[np.float64])


def run(
    *, k: int = 10, n: int | None = None, runs: int = 1000, loop: int = 20, seed: int = 0
) -> dict[str, Any]:
    """Run the benchmark.

    Args:
        k: units of the teacher.
        n: of the student; as many unless given.
        runs: of ours.
        loop: the first so many of them are also run by the reference, whose seconds and steps are
            those of one run times `runs`.
        seed: of the initial weights.
    """
    start = initial_students(runs, n or k, k, seed=seed)
    begin, wall = time.process_time(), time.perf_counter()
    ends = descend(start)
    seconds, wall = time.process_time() - begin, time.perf_counter() - wall
    spurious = ends.same_basin & ~ends.below
    few = start[:loop]
    torch_ends, steps, torch_seconds = _loop(list(few), lambda w: gradient(w[None])[0])
    _, _, numpy_seconds = _loop([each.numpy() for each in few], numpy_gradient)
    alone = torch.stack(torch_ends)
    apart = (alone - ends.students[:loop]).flatten(1).norm(dim=1)[spurious[:loop]]
    mine = {
        "seconds": seconds,
        "seconds_wall": wall,
        "steps": int(ends.steps.sum()),
        "spurious_percent": 100 * float(spurious.double().mean()),
        "undecided": int((~ends.converged).sum()),
    }
    theirs: dict[str, Any] = {
        "seconds": torch_seconds * runs / loop,
        "seconds_numpy": numpy_seconds * runs / loop,
        "steps": steps * runs / loop,
        "measured_runs": loop,
    }
    return {
        "name": "spurious-minima",
        "about": f"{runs} runs, k = {k}, n = {n or k}, processor seconds; reference: the same "
        f"gradient, run by run to a norm of 1e-9, {loop} runs scaled (`numpy`: written in NumPy)",
        "runs": runs,
        "same_fate": bool((spurious[:loop] == (objective(alone) >= LEVEL)).all()),
        "greatest_distance": float(apart.max()) if len(apart) else None,
        "ratios": {
            "seconds": theirs["seconds"] / seconds,
            "seconds_numpy": theirs["seconds_numpy"] / seconds,
            "steps": theirs["steps"] / mine["steps"],
        },
        "ours": mine,
        "reference": theirs,
        "machine": machine(),
    }


def _loop(
    start: Sequence[_Array], gradient: Callable[[_Array], _Array]
) -> tuple[list[_Array], int, float]:
    """Ends, steps and processor seconds of a loop over runs."""
    step = step_size(len(start[0]))
    ends, steps = [], 0
    begin = time.process_time()
    for weights in start:
        for _ in range(_MAX_STEPS):
            slope = gradient(weights)
            if math.sqrt(float((slope * slope).sum())) <= TOLERANCE:
                break
            weights = weights - step * slope
            steps += 1
        ends.append(weights)
    return ends, steps, time.process_time() - begin


def numpy_gradient(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """The gradient at one student, in few operations of NumPy.

    Args:
        weights: `[n, k]`.

    Returns:
        `[n, k]`.
    """
    norms = np.sqrt((weights * weights).sum(1))
    units = weights / norms[:, None]
    among = np.clip(units @ units.T, -1, 1)
    np.fill_diagonal(among, 1.0)
    along = np.sqrt(1 - among * among) @ norms - np.sqrt(1 - units * units).sum(1)
    slope = along[:, None] * units + np.arccos(-among) @ weights - np.arccos(-units)
    return slope / (2 * math.pi)
