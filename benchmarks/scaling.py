"""Seconds against examples, parameters, beads and pairs, with fitted exponents.

One of the four varies, the others stay. The cost is the processor time of a whole search (all
threads; it does not depend on what else the machine does), of two the smaller, plans measured
before. What is fitted is a + b·workᵉ with a, b ≥ 0: the fixed cost a must not hide an exponent,
nor pass for one. Work is the quantity itself; where the beads that a search needed differ from
size to size, the seconds are those of one bead, times the beads of the largest size.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import nnls

from benchmarks.measure import machine
from benchmarks.turning import turning
from thalweg import Budget, Connection, InputError, connect_pairs

Search = Callable[[int], list[Connection]]


@dataclass(frozen=True)
class Axis:
    """One quantity that varies.

    Attributes:
        sizes: its values, increasing.
        search: a search of that size.
        per_bead: whether the quantity leaves the number of beads alone.
    """

    sizes: Sequence[int]
    search: Search
    per_bead: bool = True


def run(*, certificate: str = "sampled", seed: int = 0, rounds: int = 2) -> dict[str, Any]:
    """Measure all four.

    Args:
        certificate: of the searches.
        seed: of weights and data.
        rounds: how often each search is timed.
    """
    axes = {
        "examples": Axis((2_000, 8_000, 32_000, 64_000, 128_000),
                         lambda n: _search(16, n, 7, 1, certificate, seed)),
        "parameters": Axis((2 * 128**2, 2 * 256**2, 2 * 512**2, 2 * 768**2, 2 * 1024**2),
                           lambda p: _search(round((p / 2) ** 0.5), 64, 7, 1, certificate, seed)),
        "beads": Axis((60, 120, 240, 480, 1_000),
                      lambda n: _search(16, 1_000, n, 1, certificate, seed), per_bead=False),
        "pairs": Axis((4, 16, 64, 128, 256),
                      lambda n: _search(16, 1_000, 7, n, certificate, seed), per_bead=False),
    }  # fmt: skip
    exponents, points = {}, {}
    for name, axis in axes.items():
        work, seconds = _measure(name, axis, rounds)
        exponents[name], fixed = fit(work, seconds)
        points[f"{name} points"] = {
            "sizes": list(axis.sizes), "work": work, "seconds": seconds, "fixed_seconds": fixed
        }  # fmt: skip
    return {
        "name": "scaling",
        "about": "exponent e of seconds = a + b * work**e",
        "certificate": certificate,
        "ratios": exponents,
        "ours": points,
        "reference": {},
        "machine": machine(),
    }


def fit(work: Sequence[float], seconds: Sequence[float]) -> tuple[float, float]:
    """Exponent e and fixed cost a of a + b·workᵉ, by least relative squares.

    Args:
        work: increasing, positive.
        seconds: positive.

    Example:
        >>> work = [1.0, 10.0, 100.0, 1000.0]
        >>> exponent, fixed = fit(work, [0.5 + 0.01 * w for w in work])
        >>> round(exponent, 2), round(fixed, 2)
        (1.0, 0.5)
    """
    scaled = np.array(work) / work[-1]
    measured = np.array(seconds)

    def at(exponent: float) -> tuple[float, float]:
        columns = np.stack([np.ones_like(scaled), scaled**exponent], axis=1) / measured[:, None]
        (fixed, _), residual = nnls(columns, np.ones_like(measured))
        return float(residual), float(fixed)

    exponent = min(np.arange(0.2, 2.5, 0.01).tolist(), key=lambda e: at(e)[0])
    return round(exponent, 2), at(exponent)[1]


def _measure(name: str, axis: Axis, rounds: int) -> tuple[list[float], list[float]]:
    """Work and seconds of every size."""
    work, seconds, beads = [], [], []
    for size in axis.sizes:
        found = axis.search(size)  # measures plans, which are remembered
        if not all(connection.connected for connection in found):
            raise InputError(f"expected every pair connected at {size} {name}, got others")
        times = []
        for _ in range(rounds):
            begin = time.process_time()
            axis.search(size)
            times.append(time.process_time() - begin)
        beads.append(sum(connection.beads for connection in found))
        work.append(float(beads[-1] if name == "beads" else size))
        seconds.append(min(times))
    if axis.per_bead:
        seconds = [each * beads[-1] / n for each, n in zip(seconds, beads, strict=True)]
    return work, seconds


def _search(
    width: int, examples: int, beads: int, pairs: int, certificate: str, seed: int
) -> list[Connection]:
    problem = turning(width, width, width, examples=examples, seed=seed)
    return connect_pairs(
        problem.objective, [problem.pair(0.01 * i) for i in range(pairs)],
        threshold=problem.threshold(beads), certificate=certificate, seed=seed,
        budget=Budget(beads=10_000),
    )  # fmt: skip
