"""Curvature against PyHessian's algorithms: deflated power iteration and plain Hutchinson.

Two networks with random weights trained for a little while, on 2,000 images of MNIST: an MLP
784-128-64-10 and LeNet-5. Eigenvalues: products until the top five are right to 1e-5. The
reference stops each eigenvalue as soon as it is right, which it could not know by itself. Trace:
CPU time of the exact trace, against random signs until the standard error is one percent: so many
as the spread of the first hundred says, at their mean time.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.measure import machine
from thalweg import Objective, Training, train
from thalweg.geometry import Curvature, eigenpairs, trace
from thalweg.tasks import read_mnist

_IMAGES = 2000
_TOP = 5
_RIGHT = 1e-5
_PERCENT = 0.01
_LEVEL = 0.3
_SIGNS = 100

Product = Callable[[Tensor], Tensor]


def run(rounds: int = 1, seed: int = 0) -> dict[str, Any]:
    """Measure top eigenvalues and traces of an MLP and of LeNet-5 on 2,000 images.

    Args:
        rounds: how often traces are timed; the median counts.
        seed: of weights, minibatches and random vectors.
    """
    documents = {
        name: _case(make, shape, rounds, seed)
        for name, make, shape in (("mlp", _mlp, (784,)), ("lenet", _lenet, (1, 28, 28)))
    }
    sides: dict[str, dict[str, Any]] = {"ratios": {}, "ours": {}, "reference": {}}
    for name, document in documents.items():
        for side, found in sides.items():
            found.update({f"{name}_{key}": value for key, value in document[side].items()})
    return {
        "name": "curvature",
        "about": f"{_IMAGES} images; top {_TOP} eigenvalues to {_RIGHT:g}, traces",
        "rounds": rounds,
        **sides,
        "machine": machine(),
    }


def _mlp() -> nn.Module:
    return nn.Sequential(
        nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10)
    )


def _lenet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84),
        nn.ReLU(), nn.Linear(84, 10),
    )  # fmt: skip


def _case(
    make: Callable[[], nn.Module], shape: tuple[int, ...], rounds: int, seed: int
) -> dict[str, dict[str, float]]:
    images = read_mnist("train", None)
    x = torch.from_numpy(images.pixels[:_IMAGES].copy()).float().reshape(-1, *shape) / 255
    y = torch.from_numpy(images.labels[:_IMAGES].copy()).long()
    torch.manual_seed(seed)
    model = make()
    recipe = Training("Adam", 1e-3, batch_size=100)
    objective = Objective(model, F.cross_entropy, train=(x, y), training=recipe, strategy="loop")
    theta = train(objective, [objective.theta(model)], _LEVEL, seed=seed)[0].theta
    truth = eigenpairs(Curvature(objective, theta), _TOP, tolerance=1e-10).values
    ours = eigenpairs(Curvature(objective, theta), _TOP, tolerance=1e-3, seed=seed)
    reference, products = _power_iteration(Curvature(objective, theta), truth, seed)
    exact, seconds, estimates, theirs = 0.0, [], [], []
    samples = 0
    for number in range(rounds):
        begin = time.process_time()
        exact = trace(objective, theta, exact=True, double=False).value
        seconds.append(time.process_time() - begin)
        estimate, needed_seconds, samples = _hutchinson(objective, theta, seed + number)
        theirs.append(needed_seconds)
        estimates.append(estimate)
    mine, others = sorted(seconds)[rounds // 2], sorted(theirs)[rounds // 2]
    return {
        "ratios": {"products": products / ours.products, "trace_seconds": others / mine},
        "ours": {
            "products": ours.products,
            "eigenvalue_error": float(((ours.values - truth).abs() / truth).max()),
            "trace_seconds": mine,
            "trace": exact,
        },
        "reference": {
            "products": products,
            "eigenvalue_error": float(((reference - truth).abs() / truth).max()),
            "trace_seconds": others,
            "trace": estimates[-1],
            "trace_products": samples,
        },
    }


def _power_iteration(curvature: Curvature, truth: Tensor, seed: int) -> tuple[Tensor, int]:
    """One eigenvalue after another, each in what the ones before it leave."""
    generator = torch.Generator().manual_seed(seed)
    values, vectors = [], torch.zeros(0, curvature.size, dtype=torch.float64)
    for wanted in truth.tolist():
        vector = torch.randn(curvature.size, generator=generator, dtype=torch.float64)
        while True:
            vector = vector - (vectors @ vector) @ vectors
            vector = vector / vector.norm()
            image = curvature.product(vector)
            value = float(vector @ image)
            if abs(value - wanted) <= _RIGHT * wanted:
                break
            vector = image
        values.append(value)
        vectors = torch.cat([vectors, vector[None]])
    return torch.tensor(values, dtype=torch.float64), curvature.products


def _hutchinson(objective: Objective, theta: Tensor, seed: int) -> tuple[float, float, int]:
    """Random signs through kept graphs of the gradient: estimate, seconds and signs for 1 %."""
    curvature = Curvature(objective, theta, double=False)
    generator = torch.Generator().manual_seed(seed)
    samples: list[float] = []
    begin = time.process_time()
    for _ in range(_SIGNS):
        sign = torch.randint(0, 2, (curvature.size,), generator=generator).float() * 2 - 1
        samples.append(float(sign @ curvature.product(sign)))
    seconds = (time.process_time() - begin) / _SIGNS
    spread = torch.tensor(samples, dtype=torch.float64)
    estimate = float(spread.mean())
    needed = math.ceil((float(spread.std()) / (_PERCENT * estimate)) ** 2)
    return estimate, seconds * needed, needed
