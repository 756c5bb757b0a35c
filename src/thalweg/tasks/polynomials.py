"""Polynomial regression on the unit interval, the paper's smallest problems.

Freeman & Bruna 2017, Section 4.1: a 1-4-4-1 network with sigmoid hidden units learns a quadratic
or a cubic polynomial on `[0, 1]`. What the paper leaves open (loss, sample sizes, initialization,
thresholds) follows the runs that the authors published; see ``docs/protocol.md``.

The data are 10,000 draws from the unit interval, another 10,000 for the criterion; or a quadrature
rule, with which the criterion is the population risk ∫|f(x) - y(x)| dx itself: the composite
midpoint rule, whose weights are equal, so that all that is known of means over examples holds of
it, proofs included. With M intervals of width h = 1/M and e = f - y it is wrong by at most

    h²/24 max|e''| + (h²/4) Z max|e'|,

Z being the number of intervals in which e changes its sign: an interval in which it does not
contributes at most h³/24 max|e''|, as for any smooth function, and one in which it does, since
||e(x)| - |e(m)|| <= |x - m| max|e'| about its middle m, at most h²/4 max|e'|. With 2,000 intervals,
two changes of sign and derivatives of 1 and 10 that is 2e-7, a five-thousandth of the lowest
threshold of the published sweep.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from thalweg.errors import InputError
from thalweg.objective import Criterion, Objective, Training
from thalweg.tasks.task import Task, drawn, form

_POINTS, _SMALL = 10_000, 1000
_TRAIN_SEED, _TEST_SEED = 1, 2
# Intervals of the quadrature rule.
_INTERVALS = 2_000

Data = Literal["draws", "quadrature"]

_CRITERION = Criterion("loss", split="test")
# The published runs take all 10,000 points at every step, at 1e-3 for beads, too. Steps on 512 of
# them in turn, and longer ones for beads, lead to strings of the same lengths: see docs/methods.md.
_TRAINING = Training(optimizer="Adam", learning_rate=1e-3, sample=512, bead_factor=4.0)


def quadratic(
    initialization: Literal["uniform", "normal"] = "uniform",
    data: Data = "draws",
    width: int = 4,
    *,
    small: bool = False,
) -> Task:
    """Make the quadratic task: y = .5x² + .25x + .1, 24 parameters.

    Hidden units and output are sigmoids; there are no biases.

    Args:
        initialization: weights from U(-1, 1), as in the published scripts, or from N(0, 1),
            which may be nearer to the published numbers.
        data: 10,000 draws, as in the published runs, or a quadrature rule.
        width: units of each hidden layer; the paper has 4.
        small: 1,000 points rather than 10,000.

    Returns:
        The task.

    Raises:
        InputError: if an option is not among those named.

    Example:
        >>> quadratic().training.learning_rate
        0.001
    """
    if initialization not in ("uniform", "normal"):
        raise InputError(f"expected an initialization, uniform or normal, got {initialization!r}")
    _check(data, width)

    def initialize(generator: Generator) -> nn.Module:
        def draw(name: str, tensor: Tensor) -> None:
            if initialization == "uniform":
                tensor.uniform_(-1, 1, generator=generator)
            else:
                tensor.normal_(generator=generator)

        return drawn(lambda: _quadratic_network(width), draw)

    name = form("quadratic", small=small)
    return Task(
        name=name,
        summary="regression on y = .5x^2 + .25x + .1",
        source="Freeman & Bruna 2017, Section 4.1",
        architecture=f"1-{width}-{width}-1, sigmoid hidden and output, no biases",
        criterion=_CRITERION,
        training=_TRAINING,
        thresholds=(0.001, 0.0025, 0.005, 0.0075, 0.01, 0.025, 0.05, 0.075, 0.1, 0.125),
        default_threshold=0.05,
        alpha=0.95,
        t_star="half",
        needs_data=False,
        build=lambda data_dir: _objective(
            name, initialize, quadratic_target, data, _SMALL if small else _POINTS
        ),
        initialize=initialize,
    )


def cubic(data: Data = "draws", width: int = 4, *, small: bool = False) -> Task:
    """Make the cubic task: y = 8x³ - 10x² + 3x, 33 parameters.

    Hidden units are sigmoids, the output is linear. Weights come from U(-1, 1), biases
    from N(0, 1). The best constant has a mean absolute error of .158 on [0, 1]: above that, a
    network that ignores its input does well enough.

    Args:
        data: 10,000 draws, as in the published runs, or a quadrature rule.
        width: units of each hidden layer; the paper has 4.
        small: 1,000 points rather than 10,000.

    Returns:
        The task.

    Raises:
        InputError: if an option is not among those named.

    Example:
        >>> cubic().criterion.split
        'test'
    """
    _check(data, width)

    def initialize(generator: Generator) -> nn.Module:
        def draw(name: str, tensor: Tensor) -> None:
            if name.endswith("bias"):
                tensor.normal_(generator=generator)
            else:
                tensor.uniform_(-1, 1, generator=generator)

        return drawn(lambda: _cubic_network(width), draw)

    name = form("cubic", small=small)
    return Task(
        name=name,
        summary="regression on y = 8x^3 - 10x^2 + 3x",
        source="Freeman & Bruna 2017, Section 4.1",
        architecture=f"1-{width}-{width}-1, sigmoid hidden, linear output, biases",
        criterion=_CRITERION,
        training=_TRAINING,
        # The published range, dense where the published curve has its spike; the points are ours.
        thresholds=(
            *(0.01, 0.02, 0.04, 0.08, 0.12),
            *(0.14, 0.145, 0.15, 0.155, 0.16, 0.165, 0.17, 0.175, 0.18),
            *(0.24, 0.32),
        ),
        default_threshold=0.12,
        alpha=0.95,
        t_star="half",
        needs_data=False,
        build=lambda data_dir: _objective(
            name, initialize, cubic_target, data, _SMALL if small else _POINTS
        ),
        initialize=initialize,
    )


def quadratic_target(x: Tensor) -> Tensor:
    """Evaluate .5x² + .25x + .1 elementwise."""
    return (0.5 * x + 0.25) * x + 0.1


def cubic_target(x: Tensor) -> Tensor:
    """Evaluate 8x³ - 10x² + 3x elementwise."""
    return ((8 * x - 10) * x + 3) * x


def midpoints(intervals: int) -> Tensor:
    """Nodes `[intervals, 1]` of the composite midpoint rule on [0, 1], whose weights are equal.

    Example:
        >>> midpoints(2).tolist()
        [[0.25], [0.75]]
    """
    return ((torch.arange(intervals, dtype=torch.float64) + 0.5) / intervals).float()[:, None]


def _check(data: str, width: int) -> None:
    if data not in get_args(Data):
        raise InputError(f"expected data among {', '.join(get_args(Data))}, got {data!r}")
    if isinstance(width, bool) or not isinstance(width, int) or width < 1:
        raise InputError(f"expected a width of at least 1 unit, got {width!r}")


def _quadratic_network(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(1, width, bias=False),
        nn.Sigmoid(),
        nn.Linear(width, width, bias=False),
        nn.Sigmoid(),
        nn.Linear(width, 1, bias=False),
        nn.Sigmoid(),
    )


def _cubic_network(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(1, width),
        nn.Sigmoid(),
        nn.Linear(width, width),
        nn.Sigmoid(),
        nn.Linear(width, 1),
    )


def _objective(
    name: str,
    initialize: Callable[[Generator], nn.Module],
    target: Callable[[Tensor], Tensor],
    data: Data,
    points: int,
) -> Objective:
    def sample(seed: int) -> tuple[Tensor, Tensor]:
        if data == "quadrature":  # no noise: both splits are the population
            x = midpoints(_INTERVALS)
        else:
            x = torch.rand(points, 1, generator=Generator().manual_seed(seed))
        return x, target(x)

    return Objective(
        initialize(Generator().manual_seed(0)),
        F.l1_loss,
        train=sample(_TRAIN_SEED),
        test=sample(_TEST_SEED),
        criterion=_CRITERION,
        training=_TRAINING,
        name=name,
    )
