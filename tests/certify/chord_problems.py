"""Random smooth chains with convex losses, and their criterion by the network's own code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn import functional as F

from thalweg.objective import Criterion, Objective

ACTIVATIONS = (nn.Sigmoid, nn.Tanh, nn.SiLU, nn.GELU, nn.Softplus, nn.LogSigmoid)
LOSSES: tuple[tuple[Any, str], ...] = (
    (F.l1_loss, "loss"), (F.mse_loss, "loss"), (F.cross_entropy, "loss"),
    (nn.CrossEntropyLoss(), "perplexity"), (F.binary_cross_entropy_with_logits, "loss"),
    (nn.HuberLoss(delta=0.3), "loss"), (nn.SmoothL1Loss(beta=0.5), "loss"), (nn.L1Loss(), "loss"),
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Drawn:
    """A problem and a segment."""

    objective: Any
    start: Tensor
    end: Tensor

    def values(self, at: Tensor) -> Tensor:
        """The criterion at some t in float64, as network and loss compute it."""
        twin = self.objective.double()
        inputs, target = twin.splits["train"].select(slice(None))
        loss = twin.criterion.per_example(twin.loss)
        start, end = self.start.double(), self.end.double()

        def one(t: Tensor) -> Tensor:
            parameters = twin.layout.unflatten(start + t * (end - start))
            output = functional_call(twin.model, parameters, (inputs,))
            return twin.criterion.finish(loss(output, target).mean())

        with torch.no_grad():
            return vmap(one)(at.double())

    def maximum(self, left: float = 0.0, right: float = 1.0, points: int = 1001) -> float:
        """The largest value on a piece: on a grid, then on three finer ones around the best."""
        top = -float("inf")
        for _ in range(4):
            grid = torch.linspace(left, right, points, dtype=torch.float64)
            seen = self.values(grid)
            top = max(top, float(seen.max()))
            best, step = float(grid[int(seen.argmax())]), (right - left) / (points - 1)
            left, right, points = max(left, best - step), min(right, best + step), 21
        return top


def chain(depth: int, width: int, inputs: int, outputs: int, kind: int) -> nn.Module:
    layers: list[nn.Module] = []
    features = inputs
    for level in range(depth):
        bias = (kind + level) % 3 > 0
        activation = ACTIVATIONS[(kind + level) % len(ACTIVATIONS)]()
        layers += [nn.Linear(features, width, bias=bias), activation]
        features = width
    layers.append(nn.Linear(features, outputs))
    if kind % 5 == 0:
        layers.append(nn.Sigmoid())
    return nn.Sequential(*layers)


def draw(
    depth: int, width: int, inputs: int, kind: int, loss: int, seed: int, size: float = 1.0,
    examples: int = 90,
) -> Drawn:  # fmt: skip
    torch.manual_seed(seed)
    function, measure = LOSSES[loss]
    labels = loss in {2, 3}
    outputs = 2 + seed % 3 if labels else 1 + seed % 2
    model = chain(depth, width, inputs, outputs, kind)
    x = torch.rand(examples, inputs) * 4 - 2
    smooth = torch.sigmoid(x.sum(1, keepdim=True) + torch.arange(outputs))
    target = smooth if seed % 4 else torch.rand(examples, outputs)
    if labels:
        target = torch.randint(outputs, (examples,))
    made = Objective(model, function, train=(x, target), criterion=Criterion(measure))
    start = made.theta(model) * (1 + seed % 3)
    return Drawn(made, start, start + torch.randn(len(start)) * size)


def polynomial(seed: int, level: int = 4) -> Drawn:
    """A 1-4-4-1 network on a few points of a polynomial."""
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Linear(1, level), nn.Sigmoid(), nn.Linear(level, level), nn.Sigmoid(),
        nn.Linear(level, 1),
    )  # fmt: skip
    x = torch.rand(400, 1)
    made = Objective(model, F.l1_loss, train=(x, x**2))
    start = torch.randn(made.layout.size)
    return Drawn(made, start, start + torch.randn(made.layout.size))
