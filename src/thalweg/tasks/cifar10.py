"""CIFAR-10 with the paper's convolutional network.

Freeman & Bruna 2017, Section 4.2; what the paper leaves open follows the published runs
(``docs/protocol.md``), which follow TensorFlow's CIFAR-10 tutorial of that time.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from thalweg.objective import Criterion, Objective, Training
from thalweg.tasks.augment import Crop
from thalweg.tasks.datasets import Images, read_cifar10
from thalweg.tasks.task import Task, drawn, form

_CRITERION = Criterion("error_rate", split="test")
_TRAINING = Training(optimizer="SGD", learning_rate=0.1, batch_size=128)
_CROP = 24
_DECAY = 0.004  # of the weights of the first two fully connected layers
_SMALL = 5_000, 1_000  # images for training and testing


def cifar10_cnn(*, small: bool = False) -> Task:
    """Make the paper's CIFAR-10 task: a convolutional network of 1,068,298 parameters.

    Images are `[n, 3, 32, 32]`, 0 to 255. The network's first layer cuts them to 24×24 and
    standardizes each (:class:`thalweg.tasks.augment.Crop`): the middle in evaluation; in training
    a random part, mirrored at random, of random brightness and contrast. Pools are 3×3 with
    stride 2, padded on the right as TensorFlow does; local response normalization is over nine
    channels. The training loss has .004 / 2 times the squared weights of the first two fully
    connected layers added.

    Args:
        small: 16 channels and 48 and 32 hidden units, on 5,000 and 1,000 images.

    Returns:
        The task.

    Example:
        >>> cifar10_cnn().default_threshold
        0.5
    """
    sizes = (16, 48, 32) if small else (64, 384, 192)
    channels, first, second = sizes
    name = form("cifar10-cnn", small=small)
    initialize = partial(_initialize, sizes)

    def build(data_dir: Path | None) -> Objective:
        files = 1 if small else 5
        images = read_cifar10("train", data_dir, files), read_cifar10("test", data_dir)
        counts = _SMALL if small else (50_000, 10_000)
        train, test = (
            _tensors(each.first(count)) for each, count in zip(images, counts, strict=True)
        )
        return Objective(
            initialize(Generator().manual_seed(0)), F.cross_entropy, train=train, test=test,
            criterion=_CRITERION, training=_TRAINING, penalty=_weight_decay, name=name,
        )  # fmt: skip

    return Task(
        name=name,
        summary="classification of CIFAR-10 by the paper's convolutional network",
        source="Freeman & Bruna 2017, Section 4.2",
        architecture=f"conv 5x5x{channels}, pool 3/2, norm, conv 5x5x{channels}, norm, pool 3/2, "
        f"{first}, {second}, 10; relu",
        criterion=_CRITERION,
        training=_TRAINING,
        thresholds=(0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8),
        default_threshold=0.7 if small else 0.5,
        alpha=0.98,
        t_star="argmax",
        certificate="sampled",  # as for MNIST, and through local response normalization besides
        needs_data=True,
        build=build,
        initialize=initialize,
    )


def _network(sizes: tuple[int, int, int]) -> nn.Sequential:
    channels, first, second = sizes

    def norm() -> nn.Module:
        # TensorFlow's alpha = .001 / 9 multiplies the sum over nine channels, PyTorch's their mean.
        return nn.LocalResponseNorm(9, alpha=0.001, beta=0.75, k=1.0)

    return nn.Sequential(
        Crop(_CROP),
        nn.Conv2d(3, channels, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        norm(),
        nn.Conv2d(channels, channels, 5, padding=2),
        nn.ReLU(),
        norm(),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        nn.Flatten(),
        nn.Linear(channels * (_CROP // 4) ** 2, first),
        nn.ReLU(),
        nn.Linear(first, second),
        nn.ReLU(),
        nn.Linear(second, 10),
    )


def _initialize(sizes: tuple[int, int, int], generator: Generator) -> nn.Module:
    """Truncated normal weights; biases 0 for the first and last layer and .1 between."""
    spreads = (0.05, 0.05, 0.04, 0.04, 1 / sizes[2])
    last = len(spreads) - 1
    count = 0

    def draw(name: str, tensor: Tensor) -> None:
        nonlocal count
        layer, count = count // 2, count + 1
        if name.endswith("bias"):
            tensor.fill_(0.0 if layer in (0, last) else 0.1)
        else:  # cut off at two standard deviations
            std = spreads[layer]
            nn.init.trunc_normal_(tensor, std=std, a=-2 * std, b=2 * std, generator=generator)

    return drawn(partial(_network, sizes), draw)


def _weight_decay(parameters: Mapping[str, Tensor]) -> Tensor:
    """Half of .004 times the squared weights of the first two fully connected layers."""
    decayed = [parameters[f"{layer}.weight"].square().sum() for layer in ("10", "12")]
    return 0.5 * _DECAY * torch.stack(decayed).sum()


def _tensors(images: Images) -> tuple[Tensor, Tensor]:
    pixels = torch.from_numpy(images.pixels.astype(np.float32))
    return pixels, torch.from_numpy(images.labels.astype(np.int64))
