"""Strings between relu networks of one hidden layer without biases: pushed down, and measured."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from thalweg.certify import exact_maximum
from thalweg.certify.shallow import Shallow
from thalweg.objective import Objective, Training
from thalweg.theory.linear import Matrix
from thalweg.theory.statement import Series


def relu_objective(points: Matrix, target: Matrix, units: int) -> Objective:
    """Mean squared error of `x -> W2 relu(W1 x)`, float64.

    Args:
        points: `[N, inputs]`.
        target: `[N, outputs]`.
        units: hidden.

    Returns:
        The objective; θ is `W1`, row by row, and then `W2`.
    """
    net = nn.Sequential(
        nn.Linear(points.shape[1], units, bias=False),
        nn.ReLU(),
        nn.Linear(units, target.shape[1], bias=False),
    )
    return Objective(
        net.double(),
        nn.functional.mse_loss,
        train=(torch.from_numpy(points), torch.from_numpy(target)),
        training=Training("Adam", learning_rate=1e-2),
        strategy="loop",  # losses of zero differ by rounding from one strategy to the other
    )


def lowest_string(
    objective: Objective, theta_a: Tensor, theta_b: Tensor, *, seed: int, beads: int = 9,
    steps: int = 600,
) -> list[Tensor]:  # fmt: skip
    """A string whose highest points are pushed down, as low as it will go.

    Args:
        objective: whose criterion.
        theta_a: one end, `[p]`.
        theta_b: the other end, `[p]`.
        seed: of the first beads, near the straight line.
        beads: intermediate ones.
        steps: of Adam, on a soft maximum over points of the string.

    Returns:
        Its vertices, both ends included.
    """
    generator = torch.Generator().manual_seed(seed)
    t = torch.linspace(0, 1, beads + 2, dtype=torch.float64)[1:-1, None]
    inner = (1 - t) * theta_a + t * theta_b
    inner += 0.1 * torch.randn(inner.shape, generator=generator, dtype=torch.float64)
    inner.requires_grad_()
    shallow = Shallow.of(objective)
    x, y = torch.from_numpy(shallow.inputs), torch.from_numpy(shallow.target)
    split = y.shape[1] * len(shallow.weights(theta_a).w1)
    optimizer = torch.optim.Adam([inner], lr=0.02)
    between = torch.linspace(0, 1, 6, dtype=torch.float64)[:-1, None, None]
    for _ in range(steps):
        string = torch.cat([theta_a[None], inner, theta_b[None]])
        points = ((1 - between) * string[:-1] + between * string[1:]).flatten(0, 1)
        w1 = points[:, :-split].unflatten(1, (-1, x.shape[1]))
        w2 = points[:, -split:].unflatten(1, (y.shape[1], -1))
        losses = (torch.relu(x @ w1.mT) @ w2.mT - y).square().mean(dim=(1, 2))
        optimizer.zero_grad()
        torch.logsumexp(50 * losses, 0).backward()
        optimizer.step()
    return [theta_a, *inner.detach(), theta_b]


def highest(objective: Objective, vertices: Sequence[Tensor]) -> float:
    """The exact maximum of the criterion along a string."""
    return max(exact_maximum(objective, a, b).maximum for a, b in pairwise(vertices))


def profile_of(objective: Objective, vertices: Sequence[Tensor], label: str) -> Series:
    """The criterion along a string, against the fraction of its length.

    Args:
        objective: whose criterion.
        vertices: `[p]` each.
        label: of the series.

    Returns:
        A series with a dozen points or more.
    """
    string = torch.stack(list(vertices))
    lengths = torch.linalg.vector_norm(string[1:] - string[:-1], dim=1)
    knots = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)]) / lengths.sum()
    parts = max(1, 120 // len(lengths))
    t = torch.arange(parts, dtype=torch.float64)[:, None] / parts
    inside = [(1 - t) * a + t * b for a, b in pairwise(string)]
    places = [a + t[:, 0] * (b - a) for a, b in pairwise(knots)]
    values = objective.criterion_of(torch.cat([*inside, string[-1:]])).values[:, 0]
    at = torch.cat([*places, knots[-1:]])
    return Series(label=label, x=tuple(at.tolist()), y=tuple(values.tolist()))
