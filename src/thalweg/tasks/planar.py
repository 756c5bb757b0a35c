"""Networks on points of the plane: the disconnected cases of Freeman & Bruna 2017.

Appendix E.1 (three points moved in a cycle) and Section 2.3.1 (two Gaussian clusters; a mixture of
two teachers). All are one hidden relu layer without biases under squared error, so that the
maximum along a segment is exact and the obstructions of :mod:`thalweg.certify` apply.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from thalweg.objective import Criterion, Objective, Training
from thalweg.tasks.task import Task, drawn, form

_CRITERION = Criterion("loss", split="train")
_TRAINING = Training(optimizer="Adam", learning_rate=1e-2)

# At no special angles and distances; the determinant obstruction of two swapped units is .069.
_ANGLES = (20.0, 130.0, 250.0)
_DISTANCES = (1.0, 0.8, 1.2)

_POINTS, _SMALL = 1000, 200
_DATA_SEED = 1
_SPREAD = 0.3  # of a cluster, whose centre lies at distance 1
_SHARE = 0.7  # of the first teacher
_TEACHER_UNITS = 3

Data = tuple[Tensor, Tensor]


def permutation(*, small: bool = False) -> Task:
    """Make the task of Appendix E.1: three points in the plane, each to be moved to the next.

    The network is 2-3-2 with 12 parameters. From common random weights training usually ends in a
    poor local minimum: so each hidden unit starts near the direction of one point, which of them
    being drawn. Two trained models with their units in orders of opposite sign are provably
    disconnected below about .069 (:func:`thalweg.certify.obstruct`).

    Args:
        small: the same under the name of a small form: nothing is smaller.

    Returns:
        The task.

    Example:
        >>> objective = permutation().build(None)
        >>> len(objective.splits["train"]), objective.layout.size
        (3, 12)
    """
    points = _three_points()

    def initialize(generator: Generator) -> nn.Module:
        order = torch.randperm(3, generator=generator)

        def draw(name: str, tensor: Tensor) -> None:
            noise = torch.randn(tensor.shape, generator=generator)
            aim = points[order] if name == "0.weight" else points.roll(-1, 0)[order].T
            tensor.copy_(aim + 0.2 * noise)

        return drawn(partial(_network, 3, 2), draw)

    return _task(
        name=form("permutation", small=small),
        summary="three points in the plane, each moved to the next",
        source="Freeman & Bruna 2017, Appendix E.1",
        architecture="2-3-2, relu, no biases",
        thresholds=(0.001, 0.01, 0.05, 0.1),
        default_threshold=0.01,
        data=lambda: (points, points.roll(-1, 0)),
        initialize=initialize,
    )


def two_gaussians(*, small: bool = False) -> Task:
    """Make the task of Section 2.3.1: two Gaussian clusters, the target the place in the cluster.

    `X` lies around `(±1, 0)` with standard deviation .3 and `Y = (X - μ_Z) Z`, divided by that
    standard deviation so that predicting zero has a loss of about 1. (The paper does not divide;
    its risk of 1/2 presumes some normalization.) The network is 2-2-2 without biases. Two models
    whose first layers have determinants of opposite sign are provably disconnected below the loss
    of the best rank-1 layer, about .87.

    Args:
        small: 200 points rather than 1,000.

    Returns:
        The task.

    Example:
        >>> two_gaussians().build(None).layout.size
        8
    """
    return _task(
        name=form("two-gaussians", small=small),
        summary="two Gaussian clusters in the plane, the target the place in the cluster",
        source="Freeman & Bruna 2017, Section 2.3.1",
        architecture="2-2-2, relu, no biases",
        thresholds=(0.8, 0.85, 0.9, 0.95, 1.0),
        default_threshold=0.9,
        data=partial(_clusters, _SMALL if small else _POINTS),
        initialize=partial(_normal, 2, 2),
    )


def mixture_of_teachers(*, small: bool = False) -> Task:
    """Make the task of Section 2.3.1 whose targets come from one of two networks, by chance.

    `X` is Gaussian in the plane; `Y` is the output of a first 2-3-1 network with probability .7,
    else that of a second. Both, as students, are candidates for local minima; the best student
    is neither.

    Args:
        small: 200 points rather than 1,000.

    Returns:
        The task.

    Example:
        >>> mixture_of_teachers(small=True).build(None).splits["train"].target.shape
        torch.Size([200, 1])
    """
    return _task(
        name=form("mixture-of-teachers", small=small),
        summary="each target from one of two networks, chosen by chance",
        source="Freeman & Bruna 2017, Section 2.3.1",
        architecture="2-3-1, relu, no biases",
        thresholds=(0.8, 0.85, 0.9, 1.0, 1.2),
        default_threshold=0.9,
        data=partial(_mixture, _SMALL if small else _POINTS),
        initialize=partial(_normal, _TEACHER_UNITS, 1),
    )


def _task(
    *,
    name: str,
    data: Callable[[], Data],
    initialize: Callable[[Generator], nn.Module],
    **description: object,
) -> Task:
    def build(data_dir: Path | None) -> Objective:
        del data_dir
        return Objective(
            initialize(Generator().manual_seed(0)), F.mse_loss, train=data(),
            criterion=_CRITERION, training=_TRAINING, name=name,
        )  # fmt: skip

    return Task(
        name=name, criterion=_CRITERION, training=_TRAINING, alpha=0.95, t_star="half",
        needs_data=False, build=build, initialize=initialize,
        **description,  # pyright: ignore[reportArgumentType]  # the fields that differ
    )  # fmt: skip


def _network(hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(2, hidden, bias=False), nn.ReLU(), nn.Linear(hidden, outputs, bias=False)
    )


def _normal(hidden: int, outputs: int, generator: Generator) -> nn.Module:
    return drawn(partial(_network, hidden, outputs), lambda name, w: w.normal_(generator=generator))


def _three_points() -> Tensor:
    angles = [math.radians(angle) for angle in _ANGLES]
    return torch.tensor(
        [[r * math.cos(a), r * math.sin(a)] for a, r in zip(angles, _DISTANCES, strict=True)]
    )


def _clusters(points: int) -> Data:
    generator = Generator().manual_seed(_DATA_SEED)
    z = torch.where(torch.rand(points, 1, generator=generator) < 0.5, -1.0, 1.0)
    centre = z * torch.tensor([1.0, 0.0])
    noise = torch.randn(points, 2, generator=generator)
    return centre + _SPREAD * noise, z * noise


def _mixture(points: int) -> Data:
    generator = Generator().manual_seed(_DATA_SEED)
    x = torch.randn(points, 2, generator=generator)
    first, second = (_normal(_TEACHER_UNITS, 1, generator) for _ in range(2))
    chosen = torch.rand(points, 1, generator=generator) < _SHARE
    with torch.no_grad():
        return x, torch.where(chosen, first(x), second(x))
