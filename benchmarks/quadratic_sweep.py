"""Many pairs of the quadratic task: the pool of beads against one bead at a time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Generator, nn

from benchmarks.measure import compare
from benchmarks.reference import Setting
from thalweg.tasks import get_task


def run(
    *,
    pairs: int = 16,
    threshold: float = 0.05,
    rounds: int = 3,
    seed: int = 0,
    certificate: str = "proved",
) -> dict[str, Any]:
    """Run the benchmark.

    Args:
        pairs: how many.
        threshold: L0, mean absolute error on 10,000 fresh points.
        rounds: how often each side is timed.
        seed: of the first endpoint.
        certificate: of ours.
    """
    task = get_task("quadratic")
    objective = task.build(None)
    training, test = objective.splits["train"], objective.splits["test"]
    setting = Setting(
        model=task.initialize(Generator().manual_seed(0)),
        loss=nn.L1Loss(),
        train=(training.inputs[0], training.target),
        criterion=(test.inputs[0], test.target),
        learning_rate=task.training.learning_rate,
        batch_size=None,
        check_every=15,  # as the published run did
        alpha=task.alpha,
    )
    torch.manual_seed(seed)
    return compare("quadratic-sweep", task, objective, setting,
                   level=threshold, pairs=pairs, rounds=rounds, seed=seed,
                   certificate=certificate)  # fmt: skip
