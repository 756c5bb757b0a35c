"""Dynamic String Sampling as its authors ran it: one bead at a time, a fixed grid a segment.

Written from the protocol in ``docs/protocol.md``, in plain PyTorch, as a researcher would write it
in a first script. The string starts as [A, midpoint, B]; new beads are trained one after the other
to alpha·L0, the criterion measured every `check_every` steps; each new segment is evaluated at
t = k/100, k = 0 … 99; every segment above L0 gets a new bead. Unlike the published runs, which
accepted up to mult·L0, it accepts up to L0, the standard that ours is held to.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters


@dataclass
class Cost:
    """What the reference spent.

    Attributes:
        gradient_samples: models × examples of training.
        criterion_samples: models × examples of evaluation.
        seconds: wall clock.
        beads: intermediate models.
        connected: whether every segment's grid ended at or below L0.
    """

    gradient_samples: int = 0
    criterion_samples: int = 0
    seconds: float = 0.0
    beads: int = 0
    connected: bool = False


@dataclass(frozen=True)
class Setting:
    """A problem for the reference.

    Attributes:
        model: the architecture.
        loss: mean over examples.
        train: inputs and targets of training.
        criterion: inputs and targets of the criterion.
        measure: the criterion, of outputs and targets; None: the loss.
        argmax: whether a segment gets its bead at the highest point of its grid, not its middle.
        learning_rate: of Adam.
        batch_size: examples a minibatch; None: all.
        check_every: training steps between two looks at the criterion.
        alpha: beads are trained to `alpha`·L0.
        grid: points of a segment.
        rounds: of insertion, at most.
    """

    model: nn.Module
    loss: nn.Module
    train: tuple[Tensor, Tensor]
    criterion: tuple[Tensor, Tensor]
    learning_rate: float
    batch_size: int | None
    check_every: int
    measure: Callable[[Tensor, Tensor], Tensor] | None = None
    argmax: bool = False
    alpha: float = 0.95
    grid: int = 100
    rounds: int = 10


def reference_dss(setting: Setting, a: Tensor, b: Tensor, level: float, seed: int) -> Cost:
    """Connect two models by the plain algorithm.

    Args:
        setting: the problem.
        a: `[p]`, one endpoint.
        b: `[p]`, the other.
        level: L0.
        seed: of the minibatches.
    """
    begin, cost = time.perf_counter(), Cost()
    model = copy.deepcopy(setting.model)
    batches = _minibatches(setting, seed)
    a, b = (theta.to(setting.criterion[1].device) for theta in (a, b))
    string = [a, (a + b) / 2, b]
    fresh = {1}
    for _ in range(setting.rounds):
        for i in sorted(fresh):
            string[i] = _train(setting, model, string[i], level, batches, cost)
        touched = sorted({j for i in fresh for j in (i - 1, i)})
        grids = {j: _grid(setting, model, string, j, cost) for j in touched}
        above = [j for j in touched if grids[j][0] > level]
        if not above:
            cost.connected = True
            break
        for j in reversed(above):
            t = grids[j][1] if setting.argmax else 0.5
            string.insert(j + 1, (1 - t) * string[j] + t * string[j + 1])
        fresh = {j + 1 + k for k, j in enumerate(above)}
    cost.beads = len(string) - 2
    cost.seconds = time.perf_counter() - begin
    return cost


def _train(
    setting: Setting,
    model: nn.Module,
    start: Tensor,
    level: float,
    batches: Iterator[tuple[Tensor, Tensor]],
    cost: Cost,
) -> Tensor:
    vector_to_parameters(start.clone(), model.parameters())
    optimizer = torch.optim.Adam(model.parameters(), lr=setting.learning_rate)
    while True:
        for _ in range(setting.check_every):
            x, y = next(batches)
            optimizer.zero_grad()
            setting.loss(model(x), y).backward()
            optimizer.step()
            cost.gradient_samples += len(y)
        if _criterion(setting, model, cost) <= setting.alpha * level:
            return parameters_to_vector(model.parameters()).detach().clone()


def _grid(
    setting: Setting, model: nn.Module, string: list[Tensor], j: int, cost: Cost
) -> tuple[float, float]:
    """The largest value on the grid of a segment, and where it lies."""
    highest = (0.0, 0.5)
    for k in range(setting.grid):
        t = k / setting.grid
        vector_to_parameters((1 - t) * string[j] + t * string[j + 1], model.parameters())
        highest = max(highest, (_criterion(setting, model, cost), t))
    return highest


def _criterion(setting: Setting, model: nn.Module, cost: Cost) -> float:
    x, y = setting.criterion
    cost.criterion_samples += len(y)
    model.eval()
    with torch.inference_mode():
        value = float((setting.measure or setting.loss)(model(x), y))
    model.train()
    return value


def _minibatches(setting: Setting, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    x, y = setting.train
    if setting.batch_size is None:
        while True:
            yield x, y
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(len(y), generator=generator)
        for start in range(0, len(y) - setting.batch_size + 1, setting.batch_size):
            part = order[start : start + setting.batch_size]
            yield x[part], y[part]
