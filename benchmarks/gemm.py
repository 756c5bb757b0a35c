"""A dense stack of networks, forward: share of the machine's measured matrix-product rate."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.measure import machine
from thalweg.objective.chain import forward_chain

_WIDTHS = {"784-128-64-10": (784, 128, 64, 10), "1024 x 4": (1024, 1024, 1024, 1024)}
# Models and examples of a call, among which the fastest counts, as the engine chooses.
_SIZES = {
    "784-128-64-10": ((4, 512), (16, 512), (16, 1024), (16, 2560)),
    "1024 x 4": ((4, 512), (8, 512)),
}
_SIDE = 2048


def run(*, rounds: int = 7, seed: int = 0) -> dict[str, Any]:
    """Run the benchmark.

    Args:
        rounds: how often each side is timed, in turn; the median counts.
        seed: of the weights.
    """
    torch.manual_seed(seed)
    left, right, product = (torch.randn(_SIDE, _SIDE) for _ in range(3))
    ours: dict[str, Any] = {}
    reference: dict[str, Any] = {}
    ratios: dict[str, float] = {}

    def multiply() -> None:
        torch.mm(left, right, out=product)

    for name, widths in _WIDTHS.items():
        calls = {size: _call(widths, *size) for size in _SIZES[name]}
        with torch.inference_mode():
            best = max(calls, key=lambda size: _rates([calls[size]], 3)[0])
            mine, theirs = _rates([calls[best], (multiply, 2 * _SIDE**3)], rounds)
        key = f"gflops {name}"
        ours[key], reference[key], ratios[key] = mine, theirs, mine / theirs
        ours[f"models x examples {name}"] = f"{best[0]} x {best[1]}"
    return {
        "name": "gemm",
        "about": f"a dense stack, forward, against torch.mm of {_SIDE} x {_SIDE}, float32; "
        "the ratio is the share of its rate",
        "rounds": rounds,
        "ratios": ratios,
        "ours": ours,
        "reference": reference,
        "machine": machine(),
    }


Call = tuple[Callable[[], object], int]
"""Something to run, and the floating-point operations of its products."""


def _call(widths: tuple[int, ...], models: int, examples: int) -> Call:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    model = nn.Sequential(*layers[:-1])
    stack: dict[str, Tensor] = {
        name: torch.randn(models, *p.shape) / p.shape[-1] ** 0.5
        for name, p in model.named_parameters()
    }
    data = torch.rand(examples, widths[0])
    work = 2 * models * examples * sum(a * b for a, b in pairwise(widths))
    return lambda: forward_chain(model, stack, data), work


def _rates(calls: Iterable[Call], rounds: int) -> list[float]:
    """GFLOP/s of each, run in turn: medians."""
    given = list(calls)
    seconds: list[list[float]] = [[] for _ in given]
    for call, _ in given:
        call()
    for _ in range(rounds):
        for (call, _), spent in zip(given, seconds, strict=True):
            begin = time.perf_counter()
            call()
            spent.append(time.perf_counter() - begin)
    pairs = zip(given, seconds, strict=True)
    return [work / statistics.median(spent) / 1e9 for (_, work), spent in pairs]
