"""MNIST, with a small fully connected network and with the paper's convolutional one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from thalweg.objective import Criterion, Objective, Training
from thalweg.tasks.datasets import Images, read_mnist
from thalweg.tasks.task import Task, draw_linear_default, drawn, form

_MLP_CRITERION = Criterion("loss", split="train")
_MLP_TRAINING = Training(optimizer="Adam", learning_rate=1e-3, batch_size=100)

_CNN_CRITERION = Criterion("error_rate", split="test")
_CNN_TRAINING = Training(optimizer="Adam", learning_rate=1e-4, batch_size=100)
_CNN_TRAIN_IMAGES = 55_000  # the published runs kept the last 5,000 aside


def mnist_mlp(*, small: bool = False) -> Task:
    """Make the task of MNIST with one hidden layer, 50,890 parameters.

    Inputs are flat, `[n, 784]`, scaled to [0, 1]; all 60,000 images are for training.

    Args:
        small: 16 hidden units, on 8,000 images for training and 2,000 for testing.

    Returns:
        The task.

    Example:
        >>> mnist_mlp().criterion.split
        'train'
    """
    name, hidden = form("mnist-mlp", small=small), 16 if small else 64
    initialize = partial(_initialize_mlp, hidden)
    return Task(
        name=name,
        summary="classification of MNIST by one hidden layer",
        source="ours: the smallest network that is good at MNIST",
        architecture=f"784-{hidden}-10, relu",
        criterion=_MLP_CRITERION,
        training=_MLP_TRAINING,
        thresholds=(0.02, 0.05, 0.1, 0.2, 0.4),
        default_threshold=0.05,
        alpha=0.95,
        t_star="half",
        needs_data=True,
        build=partial(_build_mlp, name, initialize, (8_000, 2_000) if small else (60_000, 10_000)),
        initialize=initialize,
    )


def mnist_cnn(*, small: bool = False) -> Task:
    """Make the paper's MNIST task: a convolutional network of 3,274,634 parameters.

    Freeman & Bruna 2017, Section 4.2; what the paper leaves open follows the published runs
    (``docs/protocol.md``), but for their second softmax. Inputs are `[n, 1, 28, 28]`, scaled to
    [0, 1]; the first 55,000 images are for training. Half of the last hidden layer is dropped
    while training.

    Args:
        small: 8 and 16 channels and 64 hidden units, on 5,000 images for training and 1,000 for
            testing, with steps of 1e-3.

    Returns:
        The task.

    Example:
        >>> mnist_cnn().alpha, mnist_cnn().t_star
        (0.9, 'argmax')
    """
    name, sizes = form("mnist-cnn", small=small), (8, 16, 64) if small else (32, 64, 1024)
    training = replace(_CNN_TRAINING, learning_rate=1e-3) if small else _CNN_TRAINING
    initialize = partial(_initialize_cnn, sizes)
    return Task(
        name=name,
        summary="classification of MNIST by the paper's convolutional network",
        source="Freeman & Bruna 2017, Section 4.2",
        architecture=f"conv 5x5x{sizes[0]}, pool, conv 5x5x{sizes[1]}, pool, {sizes[2]}, "
        "dropout .5, 10; relu",
        criterion=_CNN_CRITERION,
        training=training,
        thresholds=(0.007, 0.0075, 0.00775, 0.008, 0.0085, 0.009, 0.01, 0.015, 0.02, 0.04),
        default_threshold=0.04,
        # The published .98 leaves 10 of 10,000 images of room at an error of 5 %: less than the
        # error rate rises and falls along a segment. Those runs had `mult` for that.
        alpha=0.9,
        t_star="argmax",
        # A proof of an error rate this close to the threshold takes minutes a segment on two cores.
        certificate="sampled",
        needs_data=True,
        build=partial(
            _build_cnn,
            name,
            initialize,
            training,
            (5_000, 1_000) if small else (_CNN_TRAIN_IMAGES, 10_000),
        ),
        initialize=initialize,
    )


def _mlp(hidden: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(784, hidden), nn.ReLU(), nn.Linear(hidden, 10))


def _initialize_mlp(hidden: int, generator: Generator) -> nn.Module:
    return draw_linear_default(partial(_mlp, hidden), generator)


def _build_mlp(
    name: str,
    initialize: Callable[[Generator], nn.Module],
    images: tuple[int, int],
    data_dir: Path | None,
) -> Objective:
    return Objective(
        initialize(Generator().manual_seed(0)),
        F.cross_entropy,
        train=_tensors(read_mnist("train", data_dir).first(images[0]), 784),
        test=_tensors(read_mnist("test", data_dir).first(images[1]), 784),
        criterion=_MLP_CRITERION,
        training=_MLP_TRAINING,
        name=name,
    )


def _cnn(sizes: tuple[int, int, int]) -> nn.Sequential:
    first, second, hidden = sizes
    return nn.Sequential(
        nn.Conv2d(1, first, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(first, second, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(7 * 7 * second, hidden),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(hidden, 10),
    )


def _initialize_cnn(sizes: tuple[int, int, int], generator: Generator) -> nn.Module:
    def draw(name: str, tensor: Tensor) -> None:
        if name.endswith("bias"):
            tensor.fill_(0.1)
        else:  # cut off at two standard deviations
            nn.init.trunc_normal_(tensor, std=0.1, a=-0.2, b=0.2, generator=generator)

    return drawn(partial(_cnn, sizes), draw)


def _build_cnn(
    name: str,
    initialize: Callable[[Generator], nn.Module],
    training: Training,
    images: tuple[int, int],
    data_dir: Path | None,
) -> Objective:
    return Objective(
        initialize(Generator().manual_seed(0)),
        F.cross_entropy,
        train=_tensors(read_mnist("train", data_dir).first(images[0]), 1, 28, 28),
        test=_tensors(read_mnist("test", data_dir).first(images[1]), 1, 28, 28),
        criterion=_CNN_CRITERION,
        training=training,
        name=name,
    )


def _tensors(images: Images, *shape: int) -> tuple[Tensor, Tensor]:
    """Scale pixels to [0, 1] in float32, each image of the shape given; labels as int64."""
    pixels = torch.from_numpy(images.pixels.astype(np.float32)) / 255
    return pixels.reshape(-1, *shape), torch.from_numpy(images.labels.astype(np.int64))
