"""Problems whose truth is known: landscapes in closed form, and small networks of every kind."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from thalweg import Criterion, Objective, Training
from thalweg.paths import Path

Field = Callable[[Tensor], Tensor]
"""From a point `[d]` to a scalar."""


# ---------------------------------------------------------------- landscapes in closed form


class Landscape(nn.Module):
    """A module whose only parameter is a point `w` and whose output is a function of it."""

    def __init__(self, field: Field, dimension: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.field = field
        self.w = nn.Parameter(torch.zeros(dimension, dtype=dtype))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.field(self.w).expand(len(inputs))


def mean_output(output: Tensor, target: Tensor) -> Tensor:
    del target
    return output.mean()


def landscape(
    field: Field,
    dimension: int = 1,
    dtype: torch.dtype = torch.float64,
    learning_rate: float = 0.01,
    **options: Any,
) -> Objective:
    """An objective whose criterion at θ is `field(θ)`."""
    data = torch.zeros(1, 1, dtype=dtype), torch.zeros(1, dtype=dtype)
    training = options.pop("training", Training(learning_rate=learning_rate))
    return Objective(
        Landscape(field, dimension, dtype), mean_output, train=data, training=training, **options
    )


def point(*coordinates: float, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.tensor(coordinates, dtype=dtype)


def double_well(w: Tensor) -> Tensor:
    """Minima 0 at ±1; between them a barrier of exactly 1, at 0."""
    return (w[0] ** 2 - 1) ** 2


def ring(w: Tensor) -> Tensor:
    """A circular valley: 0 on the unit circle, 1 at its centre."""
    return (w.square().sum() - 1) ** 2


# ------------------------------------------------------------------ networks of every kind


@dataclass(frozen=True)
class Problem:
    """A small network, its loss and data, and which strategies can carry it out.

    `build(dtype, **options)` makes the same objective every time.
    """

    name: str
    model: Callable[[], nn.Module]
    inputs: Callable[[int], Any]
    target: Callable[[int], Tensor]
    loss: Callable[[Tensor, Tensor], Tensor]
    classes: bool = False
    strategies: tuple[str, ...] = ("loop", "vmap", "threads")
    examples: int = 150

    def module(self, dtype: torch.dtype = torch.float64) -> Any:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return self.model().to(dtype)

    def data(self, dtype: torch.dtype = torch.float64) -> tuple[Any, Tensor]:
        with torch.random.fork_rng():
            torch.manual_seed(1)
            inputs, target = self.inputs(self.examples), self.target(self.examples)
        return _as(inputs, dtype), _as(target, dtype)

    def build(self, dtype: torch.dtype = torch.float64, **options: Any) -> Objective:
        options.setdefault("train", self.data(dtype))
        return Objective(self.module(dtype), self.loss, **options)


def _as(data: Any, dtype: torch.dtype) -> Any:
    if isinstance(data, tuple):
        return tuple(_as(tensor, dtype) for tensor in data)
    return data.to(dtype) if data.is_floating_point() else data


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(3, 4, batch_first=True)
        self.out = nn.Linear(4, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.out(self.lstm(inputs)[0][:, -1])


class Tied(nn.Module):
    """Language model in miniature: embedding and output share their weights."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 5)
        self.hidden = nn.Linear(5, 5)
        self.out = nn.Linear(5, 7, bias=False)
        self.out.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.out(torch.tanh(self.hidden(self.embedding(tokens)))).transpose(1, 2)


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(3, 4), nn.Linear(2, 4)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return self.left(left) * torch.sigmoid(self.right(right))


class Twice(nn.Module):
    """A layer that is called twice, and one that is not used."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.out, self.unused = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(2, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.out(torch.tanh(self.layer(torch.relu(self.layer(inputs)))))


def _smooth() -> nn.Module:
    return nn.Sequential(
        nn.Linear(3, 5), nn.GELU(), nn.Linear(5, 4, bias=False), nn.LeakyReLU(inplace=True),
        nn.Tanh(), nn.Sigmoid(), nn.Linear(4, 2),
    )  # fmt: skip


def _mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 4), nn.Tanh(), nn.Linear(4, 3))


def _cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(3 * 3 * 3, 3)
    )


def _with_batchnorm() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3))


def _with_dropout() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Dropout(0.5), nn.Linear(6, 3))


def _classes(n: int) -> Tensor:
    return torch.randint(0, 3, (n,))


cross_entropy = functional.cross_entropy

PROBLEMS: dict[str, Problem] = {
    problem.name: problem
    for problem in (
        Problem("mlp", _mlp, lambda n: torch.randn(n, 3), _classes, cross_entropy, classes=True,
                strategies=("loop", "vmap", "dense", "threads")),
        Problem("smooth", _smooth, lambda n: torch.randn(n, 3), lambda n: torch.randn(n, 2),
                functional.mse_loss, strategies=("loop", "vmap", "dense", "threads")),
        Problem("one layer twice", Twice, lambda n: torch.randn(n, 3), lambda n: torch.randn(n, 3),
                functional.huber_loss, strategies=("loop", "vmap", "dense", "threads")),
        Problem("one output", lambda: nn.Sequential(nn.Linear(2, 5), nn.Sigmoid(), nn.Linear(5, 1)),
                lambda n: torch.randn(n, 2), lambda n: torch.randn(n, 1), functional.l1_loss,
                strategies=("loop", "vmap", "dense", "threads")),
        Problem("cnn", _cnn, lambda n: torch.randn(n, 1, 8, 8), _classes, cross_entropy,
                classes=True),
        Problem("lstm", Recurrent, lambda n: torch.randn(n, 4, 3), lambda n: torch.randn(n, 2),
                functional.mse_loss, strategies=("loop", "threads")),
        Problem("tied", Tied, lambda n: torch.randint(0, 7, (n, 6)),
                lambda n: torch.randint(0, 7, (n, 6)), cross_entropy, classes=True),
        Problem("two inputs", TwoInputs, lambda n: (torch.randn(n, 3), torch.randn(n, 2)),
                lambda n: torch.randn(n, 4), functional.smooth_l1_loss),
        Problem("batchnorm", _with_batchnorm, lambda n: torch.randn(n, 3), _classes, cross_entropy,
                classes=True),
        Problem("dropout", _with_dropout, lambda n: torch.randn(n, 3), _classes, cross_entropy,
                classes=True, strategies=("loop", "vmap", "dense")),
    )
}  # fmt: skip


def random_stack(objective: Objective, models: int, seed: int = 0) -> Tensor:
    """Random θ `[models, p]` of a sensible size."""
    generator = torch.Generator().manual_seed(seed)
    size = models, objective.layout.size
    return torch.randn(size, generator=generator, dtype=objective.layout.dtype) / math.sqrt(3)


def toy_classifier(seed: int, **options: Any) -> Objective:
    """Points inside against points outside a circle, for an MLP 2-8-1: its level sets are curved.

    The loss is bounded below by zero and two random trainings end in different valleys.
    """
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(64, 2, generator=generator)
    target = (inputs.square().sum(1, keepdim=True) < 1.2).float()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1))
    options.setdefault("training", Training(learning_rate=0.02))
    return Objective(
        model, functional.binary_cross_entropy_with_logits, train=(inputs, target), **options
    )


# ----------------------------------------------------------------------------- brute force


def brute_force(objective: Objective, theta: Tensor, criterion: Criterion) -> float:
    """The criterion at θ by one plain float64 pass over all examples, BatchNorm aside."""
    model = objective.double().model
    parameters = {n: t.double() for n, t in objective.layout.unflatten(theta).items()}
    split = objective.double().splits[criterion.split]
    with torch.no_grad():
        output = torch.func.functional_call(model, parameters, split.inputs)
        if criterion.measure == "error_rate":
            return float((output.argmax(1) != split.target).double().mean())
        measure = objective.loss if isinstance(criterion.measure, str) else criterion.measure
        mean = measure(output, split.target).mean()
        return float(mean.exp() if criterion.measure == "perplexity" else mean)


def highest_on(objective: Objective, path: Path, points: int = 2001) -> float:
    """Largest criterion found by a dense scan of every segment, in float64, both ends included."""
    twin = objective.double()
    t = torch.linspace(0, 1, points, dtype=torch.float64)[:, None]
    highest = -math.inf
    for start, end in zip(path.points[:-1].double(), path.points[1:].double(), strict=True):
        values = twin.criterion_of((1 - t) * start + t * end).values[:, 0]
        assert torch.isfinite(values).all()
        highest = max(highest, float(values.max()))
    return highest
