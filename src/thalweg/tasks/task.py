"""What a task is: a named problem with everything needed to repeat it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Generator, Tensor, nn

from thalweg.objective import Criterion, Objective, Training


@dataclass(frozen=True, kw_only=True)
class Task:
    """A named problem: model, data, criterion, and how its networks are trained.

    Attributes:
        name: what the command line calls it.
        summary: one line for a list of tasks.
        source: the paper and section it comes from, or why it exists.
        architecture: the network in one line.
        criterion: what is held against the threshold, and on which split.
        training: optimizer and minibatches for endpoints and beads alike.
        thresholds: levels of interest, in the criterion's unit.
        default_threshold: a level reached within seconds to minutes.
        alpha: beads are trained to ``alpha`` times the threshold.
        t_star: where a refused segment gets its bead: in its middle or at its highest point seen.
        certificate: kind that a search asks for by default: proved, unless that takes too long.
        needs_data: whether data files are read; see :func:`thalweg.tasks.data_folder`.
        build: makes the objective, given the folder of the data sets or None.
        initialize: draws a new model from the generator given and from nothing else.

    Example:
        >>> from thalweg.tasks import get_task
        >>> task = get_task("quadratic")
        >>> model = task.initialize(torch.Generator().manual_seed(0))
        >>> sum(parameter.numel() for parameter in model.parameters())
        24
    """

    name: str
    summary: str
    source: str
    architecture: str
    criterion: Criterion
    training: Training
    thresholds: tuple[float, ...]
    default_threshold: float
    alpha: float
    t_star: Literal["half", "argmax"]
    certificate: Literal["proved", "sampled"] = "proved"
    needs_data: bool
    build: Callable[[Path | None], Objective]
    initialize: Callable[[Generator], nn.Module]


def form(name: str, *, small: bool) -> str:
    """The name of a task or of its small form.

    Args:
        name: of the task.
        small: which of the two.

    Example:
        >>> form("digits", small=True)
        'digits-small'
    """
    return f"{name}-small" if small else name


def drawn(make: Callable[[], nn.Module], draw: Callable[[str, Tensor], object]) -> nn.Module:
    """Make a module whose parameters come from ``draw`` alone.

    PyTorch's layers initialize themselves from the global random state. Here they are made
    without values, so that this state is neither used nor moved.

    Args:
        make: makes the module; its own initialization is skipped. The module may hold no buffers,
            whose values would be lost.
        draw: called with the name and the tensor of each parameter, in order, to fill it in place.

    Returns:
        The module on the CPU, in training mode.

    Raises:
        ValueError: if the module holds buffers.

    Example:
        >>> linear = drawn(lambda: nn.Linear(2, 1), lambda name, tensor: tensor.fill_(0.5))
        >>> linear.weight
        Parameter containing:
        tensor([[0.5000, 0.5000]], requires_grad=True)
    """
    with torch.device("meta"):
        module = make()
    if list(module.buffers()):
        raise ValueError("expected a module without buffers: draw those explicitly")
    module.to_empty(device="cpu")
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            draw(name, parameter)
    return module


def draw_linear_default(make: Callable[[], nn.Sequential], generator: Generator) -> nn.Module:
    """Make a network of linear layers with PyTorch's default initialization.

    Weights and biases are uniform within ``1 / sqrt(fan_in)``, as ``nn.Linear`` draws them.

    Args:
        make: makes the network.
        generator: where the values come from.

    Returns:
        The network on the CPU, in training mode.
    """
    fan_in = 1

    def draw(name: str, tensor: Tensor) -> None:
        nonlocal fan_in
        if name.endswith("weight"):  # comes before the bias of the same layer
            fan_in = tensor.shape[1]
        bound = 1 / math.sqrt(fan_in)
        tensor.uniform_(-bound, bound, generator=generator)

    return drawn(make, draw)
