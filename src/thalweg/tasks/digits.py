"""Handwritten digits that come with scikit-learn: a real problem that needs no download."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from thalweg.objective import Criterion, Objective, Training
from thalweg.tasks.task import Task, draw_linear_default, form

_TEST_IMAGES = 360  # a fifth of the 1,797
_SPLIT_SEED = 0

_CRITERION = Criterion("loss", split="train")
_TRAINING = Training(optimizer="Adam", learning_rate=1e-2, batch_size=64)


def digits(*, small: bool = False) -> Task:
    """Make the digits task: 8×8 images of handwritten digits, 2,410 parameters.

    Pixels are scaled to [0, 1]; 1,437 images are for training and 360 for testing, with the
    classes in equal proportion.

    Args:
        small: 8 hidden units.

    Returns:
        The task.

    Example:
        >>> objective = digits().build(None)
    """
    name, hidden = form("digits", small=small), 8 if small else 32
    initialize = partial(_initialize, hidden)
    return Task(
        name=name,
        summary="classification of 8x8 handwritten digits (scikit-learn's)",
        source="ours: real data that is always at hand",
        architecture=f"64-{hidden}-10, relu",
        criterion=_CRITERION,
        training=_TRAINING,
        thresholds=(0.02, 0.05, 0.1, 0.2, 0.4),
        default_threshold=0.1,
        alpha=0.95,
        t_star="half",
        needs_data=False,
        build=partial(_build, name, initialize),
        initialize=initialize,
    )


def _network(hidden: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, 10))


def _initialize(hidden: int, generator: Generator) -> nn.Module:
    return draw_linear_default(partial(_network, hidden), generator)


def _build(
    name: str, initialize: Callable[[Generator], nn.Module], data_dir: Path | None
) -> Objective:
    # Imported here: scikit-learn takes a second, which nobody else should wait for.
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    pixels, labels = load_digits(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(
        pixels, labels, test_size=_TEST_IMAGES, stratify=labels, random_state=_SPLIT_SEED
    )

    def tensors(x: object, y: object) -> tuple[Tensor, Tensor]:
        return torch.as_tensor(x, dtype=torch.float32) / 16, torch.as_tensor(y, dtype=torch.int64)

    return Objective(
        initialize(Generator().manual_seed(0)),
        F.cross_entropy,
        train=tensors(train_x, train_y),
        test=tensors(test_x, test_y),
        criterion=_CRITERION,
        training=_TRAINING,
        name=name,
    )
