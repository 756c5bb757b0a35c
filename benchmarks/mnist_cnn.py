"""Pairs of the paper's MNIST network at a test error: the criterion's evaluations dominate."""

from __future__ import annotations

from typing import Any

from torch import Generator, Tensor, nn

from benchmarks.measure import compare
from benchmarks.reference import Setting
from thalweg.tasks import get_task


def run(
    *,
    pairs: int = 1,
    threshold: float = 0.02,
    rounds: int = 1,
    seed: int = 0,
    certificate: str = "proved",
    check_every: int = 550,
    device: str = "cpu",
) -> dict[str, Any]:
    """Run the benchmark.

    Args:
        pairs: how many.
        threshold: L0, error rate on the 10,000 test images.
        rounds: how often each side is timed.
        seed: of the first endpoint.
        certificate: of ours.
        check_every: steps between two looks of the reference at its criterion; an epoch, as in
            the published run.
        device: where both sides compute.
    """
    task = get_task("mnist-cnn")
    objective = task.build(None).to(device)
    training, test = objective.splits["train"], objective.splits["test"]
    setting = Setting(
        model=task.initialize(Generator().manual_seed(0)).to(device),
        loss=nn.CrossEntropyLoss(),
        train=(training.inputs[0], training.target),
        criterion=(test.inputs[0], test.target),
        learning_rate=task.training.learning_rate,
        batch_size=task.training.batch_size,
        check_every=check_every,
        measure=_error_rate,
        argmax=True,
        alpha=task.alpha,
    )
    return compare("mnist-cnn", task, objective, setting,
                   level=threshold, pairs=pairs, rounds=rounds, seed=seed,
                   certificate=certificate)  # fmt: skip


def _error_rate(output: Tensor, target: Tensor) -> Tensor:
    return (output.argmax(1) != target).float().mean()
