"""A problem of one's own that takes a second: tests run studies of it in other processes."""

from __future__ import annotations

import os
import signal

import torch
from torch import nn

import thalweg


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1))


def problem() -> thalweg.Objective:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 2, generator=generator)
    y = (x.square().sum(1, keepdim=True) < 1.2).float()
    return thalweg.Objective(
        network(), nn.functional.binary_cross_entropy_with_logits, train=(x, y),
        training=thalweg.Training(learning_rate=0.02),
    )  # fmt: skip


def drawn(generator: torch.Generator) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(generator.initial_seed())
        return network()


def deadly(generator: torch.Generator) -> nn.Module:
    """The network of seed 2 kills whoever draws it."""
    if generator.initial_seed() == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return drawn(generator)


def stubborn(generator: torch.Generator) -> nn.Module:
    """The network of seed 2 begins where no gradient leads out."""
    model = drawn(generator)
    if generator.initial_seed() == 2:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(1e6)
    return model
