"""Pairs of small MNIST networks on which the methods are compared (docs/methods.md).

``narrow`` and ``wide`` are problems: 784-16-10 and 784-64-10 on the first 8,000 training images,
tested on 10,000. Run as a script, this file trains two checkpoints of each to a train loss of
.0475, below the threshold .05 that they are compared at. MNIST is read from the folder that
``THALWEG_DATA`` names.

    python examples/mnist_pairs.py
    thalweg compare narrow-0.safetensors narrow-1.safetensors --threshold 0.05
        --problem examples/mnist_pairs.py:narrow
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import thalweg
from thalweg.tasks import read_mnist

IMAGES = 8_000
TARGET = 0.0475


def narrow() -> thalweg.Objective:
    """16 hidden units: the straight line between two networks rises to a loss of about two."""
    return _problem(16)


def wide() -> thalweg.Objective:
    """64 hidden units: easier to connect."""
    return _problem(64)


def _network(hidden: int) -> nn.Module:
    return nn.Sequential(nn.Linear(784, hidden), nn.ReLU(), nn.Linear(hidden, 10))


def _problem(hidden: int) -> thalweg.Objective:
    return thalweg.Objective(
        _network(hidden),
        F.cross_entropy,
        train=_images("train", IMAGES),
        test=_images("test", 10_000),
        criterion=thalweg.Criterion("loss", split="train"),
        training=thalweg.Training("Adam", learning_rate=1e-3, batch_size=100),
        name=f"mnist-784-{hidden}-10",
    )


def _images(split: Literal["train", "test"], count: int) -> tuple[Tensor, Tensor]:
    images = read_mnist(split)
    pixels = torch.tensor(images.pixels[:count], dtype=torch.float32).reshape(count, 784) / 255
    return pixels, torch.tensor(images.labels[:count], dtype=torch.int64)


def initial(hidden: int, seed: int) -> nn.Module:
    """A network drawn by a seed."""
    torch.manual_seed(seed)
    return _network(hidden)


if __name__ == "__main__":
    for name, problem, hidden in (("narrow", narrow(), 16), ("wide", wide(), 64)):
        for seed in (0, 1):
            start = problem.theta(initial(hidden, seed))
            model = thalweg.train(problem, [start], TARGET, seed=seed)[0]
            file = f"{name}-{seed}.safetensors"
            thalweg.save_checkpoint(file, problem.state_dict(model.theta))
            print(f"written: {file}, train loss {model.criterion:.4f}")
