"""One pair of MNIST networks 784-64-10 at a training loss: minibatches and 60,000 images."""

from __future__ import annotations

from typing import Any

from torch import Generator, nn

from benchmarks.measure import compare
from benchmarks.reference import Setting
from thalweg.tasks import get_task


def run(
    *,
    pairs: int = 1,
    threshold: float = 0.05,
    rounds: int = 1,
    seed: int = 0,
    certificate: str = "proved",
    check_every: int = 600,
    device: str = "cpu",
) -> dict[str, Any]:
    """Run the benchmark.

    Args:
        pairs: how many.
        threshold: L0, cross-entropy on the training images.
        rounds: how often each side is timed.
        seed: of the first endpoint.
        certificate: of ours.
        check_every: steps between two looks of the reference at its criterion; an epoch, as in
            the published run.
        device: where both sides compute.
    """
    task = get_task("mnist-mlp")
    objective = task.build(None).to(device)
    training = objective.splits["train"]
    data = (training.inputs[0], training.target)
    setting = Setting(
        model=task.initialize(Generator().manual_seed(0)).to(device),
        loss=nn.CrossEntropyLoss(),
        train=data,
        criterion=data,
        learning_rate=task.training.learning_rate,
        batch_size=task.training.batch_size,
        check_every=check_every,
        alpha=task.alpha,
    )
    return compare("mnist-mlp", task, objective, setting,
                   level=threshold, pairs=pairs, rounds=rounds, seed=seed,
                   certificate=certificate)  # fmt: skip
