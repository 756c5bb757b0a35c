"""A 51 x 51 plane of weight space, against a loop of load_state_dict and forward."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.measure import machine
from thalweg import Objective, surface
from thalweg.objective.criterion import Loss
from thalweg.tasks.datasets import read_mnist

Tensors = Mapping[str, Tensor]

_IMAGES = 2000
_EXTENT = 1.0
_GRID = 51


@dataclass(frozen=True)
class Case:
    """A network on its data.

    Attributes:
        name: of the benchmark.
        model: initialized by torch's defaults.
        loss: mean over examples.
        data: inputs and targets.
        reference_points: grid points that the reference is timed on in a round, spread evenly.
        exact_points: grid points that are evaluated in float64.
    """

    name: str
    model: nn.Module
    loss: Loss
    data: tuple[Tensor, Tensor]
    reference_points: int
    exact_points: int


def run_mlp(*, rounds: int = 3, seed: int = 0) -> dict[str, Any]:
    """MLP 784-128-64-10 on the first 2,000 MNIST images.

    Args:
        rounds: how often each side is timed.
        seed: of weights and directions.
    """
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10)
    )
    return run_case(Case("surface-mlp", model, F.cross_entropy, _mnist(784), 867, 51), rounds, seed)


def run_lenet(*, rounds: int = 3, seed: int = 0) -> dict[str, Any]:
    """LeNet-5 with relu and max-pooling on the first 2,000 MNIST images.

    Args:
        rounds: how often each side is timed.
        seed: of weights and directions.
    """
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    )  # fmt: skip
    case = Case("surface-lenet", model, F.cross_entropy, _mnist(1, 28, 28), 102, 17)
    return run_case(case, rounds, seed)


def run_tiny(*, rounds: int = 5, seed: int = 0) -> dict[str, Any]:
    """A 1-4-4-1 network of sigmoids on 200 points.

    Args:
        rounds: how often each side is timed.
        seed: of weights and directions.
    """
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Linear(1, 4), nn.Sigmoid(), nn.Linear(4, 4), nn.Sigmoid(), nn.Linear(4, 1)
    )
    x = torch.linspace(0, 1, 200)[:, None]
    data = x, 0.5 * x**2 + 0.25 * x + 0.1
    return run_case(Case("surface-tiny", model, F.mse_loss, data, 2601, 2601), rounds, seed)


def _mnist(*shape: int) -> tuple[Tensor, Tensor]:
    images = read_mnist("train", None)
    pixels = torch.from_numpy(images.pixels[:_IMAGES].copy()).float() / 255
    return pixels.reshape(-1, *shape), torch.from_numpy(images.labels[:_IMAGES].copy()).long()


def run_case(case: Case, rounds: int, seed: int) -> dict[str, Any]:
    """Time both sides in turn and compare both with float64.

    Args:
        case: network and data.
        rounds: how often each side is timed; the median counts.
        seed: of the directions.

    Returns:
        The document of ``python -m benchmarks NAME --json``.
    """
    objective = Objective(case.model, case.loss, train=case.data)
    origin = objective.theta(case.model)
    directions = _directions(objective, origin, seed)
    axis = torch.linspace(-_EXTENT, _EXTENT, _GRID, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    timed = _spread(len(grid), case.reference_points)
    base, *steps = (objective.layout.unflatten(t) for t in (origin, *directions))
    # The choice of a plan is made once a machine and kept; it is not timed.
    found = surface(objective, origin, directions, _EXTENT, _GRID // 2)
    _reference(case, base, steps, grid[:2])
    ours, reference = [], []
    loop: list[float] = []
    for _ in range(rounds):
        begin = time.perf_counter()
        found = surface(objective, origin, directions, _EXTENT, _GRID)
        ours.append((time.perf_counter() - begin) / len(grid))
        begin = time.perf_counter()
        loop = _reference(case, base, steps, grid[timed])
        reference.append((time.perf_counter() - begin) / len(timed))
    exact = _spread(len(timed), case.exact_points)
    truth = _exact(case, base, steps, grid[timed[exact]])
    mine = {
        "seconds": statistics.median(ours) * len(grid),
        "seconds_per_point": statistics.median(ours),
        "relative_error": _error(found.values.flatten()[timed[exact]], truth),
        "plans": objective.plans,
    }
    theirs = {
        "seconds": statistics.median(reference) * len(grid),
        "seconds_per_point": statistics.median(reference),
        "relative_error": _error(torch.tensor(loop, dtype=torch.float64)[exact], truth),
    }
    return {
        "name": case.name,
        "about": f"{_GRID} x {_GRID} points, {len(case.data[1])} examples; reference timed on "
        f"{len(timed)} points a round, errors against float64 on {len(exact)} points",
        "rounds": rounds,
        "points": len(grid),
        "points_timed_of_reference": len(timed),
        "points_in_float64": len(exact),
        "ratios": {"seconds": theirs["seconds"] / mine["seconds"]},
        "ours": mine,
        "reference": theirs,
        "machine": machine(),
    }


def _directions(objective: Objective, origin: Tensor, seed: int) -> Tensor:
    """Two random directions `[2, p]`, each tensor of them as long as the model's own."""
    generator = torch.Generator().manual_seed(seed + 1)
    rows = []
    for _ in range(2):
        parts = []
        for tensor in objective.layout.unflatten(origin).values():
            noise = torch.randn(tensor.shape, generator=generator)
            parts.append((noise * (tensor.norm() / noise.norm())).flatten())
        rows.append(torch.cat(parts))
    return torch.stack(rows)


def _reference(case: Case, base: Tensors, steps: Sequence[Tensors], points: Tensor) -> list[float]:
    """The plain loop, as one writes it in a script."""
    model, (x, y) = copy.deepcopy(case.model), case.data
    values = []
    for a, b in points.tolist():
        model.load_state_dict({n: t + a * steps[0][n] + b * steps[1][n] for n, t in base.items()})
        with torch.inference_mode():
            values.append(float(case.loss(model(x), y)))
    return values


def _exact(case: Case, base: Tensors, steps: Sequence[Tensors], points: Tensor) -> Tensor:
    """The same loop in float64."""
    x, y = case.data
    twin = replace(
        case,
        model=copy.deepcopy(case.model).double(),
        data=(x.double(), y.double() if y.is_floating_point() else y),
    )
    wide = [{n: t.double() for n, t in tensors.items()} for tensors in (base, *steps)]
    return torch.tensor(_reference(twin, wide[0], wide[1:], points), dtype=torch.float64)


def _spread(count: int, wanted: int) -> Tensor:
    """Numbers of `wanted` of `count` items, evenly spread, both ends included."""
    return torch.linspace(0, count - 1, wanted, dtype=torch.float64).round().long()


def _error(values: Tensor, truth: Tensor) -> float:
    return float(((values - truth).abs() / truth.abs()).max())
