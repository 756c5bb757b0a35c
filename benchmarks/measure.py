"""Common to all benchmarks: the machine, endpoints, and ours against the reference."""

from __future__ import annotations

import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from itertools import accumulate
from typing import Any

import torch
from torch import Generator, Tensor
from torch.profiler import ProfilerActivity, profile

from benchmarks.reference import Cost, Setting, reference_dss
from thalweg import Connection, Greedy, connect_pairs, train
from thalweg.objective import Objective
from thalweg.tasks import Task

Pair = tuple[Tensor, Tensor]


def machine(device: torch.device | None = None) -> dict[str, Any]:
    """What the figures were measured on.

    Args:
        device: a GPU to be named, too.
    """
    on_gpu = device is not None and device.type == "cuda"
    return {
        **({"gpu": torch.cuda.get_device_name(device)} if on_gpu else {}),
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def peak_bytes(work: Callable[[], Any]) -> int:
    """Most bytes that torch had allocated at a time for some work, as its profiler records them."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        work()
    profiler: Any = record.profiler
    changes = sorted(
        (event.start_ns(), event.nbytes())
        for event in profiler.kineto_results.events()
        if event.name() == "[memory]"
    )
    return max(accumulate((change for _, change in changes), initial=0))


def endpoints(task: Task, objective: Objective, level: float, pairs: int, seed: int) -> list[Pair]:
    """Pairs of independently initialized models, trained to alpha·L0.

    Args:
        task: initializes the models.
        objective: trains them.
        level: L0.
        pairs: how many.
        seed: of the first model; the others follow.
    """
    initial = [
        objective.theta(task.initialize(Generator().manual_seed(seed + i)))
        for i in range(2 * pairs)
    ]
    trained = train(objective, initial, task.alpha * level, seed=seed)
    return [(trained[2 * i].theta, trained[2 * i + 1].theta) for i in range(pairs)]


def compare(
    name: str,
    task: Task,
    objective: Objective,
    setting: Setting,
    *,
    level: float,
    pairs: int,
    rounds: int,
    seed: int,
    certificate: str,
) -> dict[str, Any]:
    """Connect the same pairs by ours and by the reference, in turn, and report ratios.

    Args:
        name: of the benchmark.
        task: names the network and how its beads are placed.
        objective: for ours.
        setting: the same problem for the reference.
        level: L0.
        pairs: how many.
        rounds: how often each is timed; the median counts.
        seed: of endpoints and minibatches.
        certificate: of ours; the reference has its grid.

    Returns:
        The document of ``python -m benchmarks NAME --json``.
    """
    ends = endpoints(task, objective, level, pairs, seed)
    method = Greedy(alpha=task.alpha, t_star=task.t_star)
    options = {"threshold": level, "method": method, "seed": seed}
    # Plans are measured once a machine and kept: the timed rounds find them there.
    connect_pairs(objective, ends, **options, certificate="sampled")
    _say(name, "endpoints trained, plans measured")
    ours_seconds, reference_seconds = [], []
    ours: list[Connection] = []
    reference: list[Cost] = []
    for _ in range(rounds):
        begin = time.perf_counter()
        ours = connect_pairs(objective, ends, **options, certificate=certificate)
        ours_seconds.append(time.perf_counter() - begin)
        _say(name, f"ours {ours_seconds[-1]:.4g} s")
        reference = [reference_dss(setting, a, b, level, seed) for a, b in ends]
        reference_seconds.append(sum(cost.seconds for cost in reference))
        _say(name, f"reference {reference_seconds[-1]:.4g} s")
    mine = {
        "seconds": statistics.median(ours_seconds),
        "seconds_training": sum(c.seconds["training"] for c in ours),
        "seconds_certifying": sum(c.seconds["certifying"] for c in ours),
        "gradient_samples": sum(c.counts.gradient_samples for c in ours),
        # A proof's bounds are evaluations of the criterion, too, and dearer ones.
        "criterion_samples": sum(c.counts.criterion_samples + c.counts.bound_samples for c in ours),
        "beads": sum(c.beads for c in ours),
        "connected": sum(c.connected for c in ours),
        "certificate": ours[0].certificate,
        "plans": objective.plans,
    }
    theirs = {
        "seconds": statistics.median(reference_seconds),
        "gradient_samples": sum(c.gradient_samples for c in reference),
        "criterion_samples": sum(c.criterion_samples for c in reference),
        "beads": sum(c.beads for c in reference),
        "connected": sum(c.connected for c in reference),
        "setting": {
            key: value
            for key, value in asdict_shallow(setting).items()
            if isinstance(value, int | float | None)
        },
    }
    ratios = {
        key: theirs[key] / mine[key] for key in ("seconds", "gradient_samples", "criterion_samples")
    }
    return {
        "name": name,
        "pairs": pairs,
        "threshold": level,
        "ratios": ratios,
        "ours": mine,
        "reference": theirs,
        "machine": machine(objective.device),
    }


def _say(name: str, what: str) -> None:
    """Progress of a benchmark that may take an hour; the result alone goes to stdout."""
    print(f"{name}: {what}", file=sys.stderr, flush=True)


def asdict_shallow(setting: Setting) -> dict[str, Any]:
    """Fields of a setting, its model and data left as they are."""
    return {key: getattr(setting, key) for key in setting.__dataclass_fields__}
