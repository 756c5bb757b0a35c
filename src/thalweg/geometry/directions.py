"""Random directions, scaled so that surfaces of different networks can be compared.

Li et al. 2018, Section 4: in a network of relus or with normalization layers, weights can be
scaled without changing the function; a direction of fixed length then shows networks of large
weights flatter than those of small ones. Their filter normalization gives each filter of the
direction the norm of the model's own.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from thalweg.errors import InputError
from thalweg.geometry.frame import Frame
from thalweg.objective import Objective
from thalweg.parameters import Source

Normalization = Literal["filter", "layer", "none"]
NORMALIZATIONS: tuple[Normalization, ...] = ("filter", "layer", "none")
"""Per filter, per tensor, or not at all."""


def random_directions(
    objective: Objective,
    origin: Source,
    count: int = 2,
    *,
    seed: int = 0,
    normalization: Normalization = "filter",
) -> Frame:
    """Gaussian directions through a model, normalized like its filters.

    A filter is what makes one output: a row of a linear layer's weight, a slice `[i]` of a
    convolution's, a row of an embedding. With ``"filter"`` each is scaled to the norm of the
    model's own (Li et al. 2018, Section 4: `d_ij ← d_ij / ‖d_ij‖ · ‖θ_ij‖`), with ``"layer"`` each
    weight tensor. Under both, biases and the parameters of normalization layers, which are vectors
    and have no filters, do not move, as in the paper's runs; with ``"none"`` all move, by standard
    normal numbers.

    Args:
        objective: whose architecture.
        origin: the model: a module, state dict, flat vector or file.
        count: how many directions.
        seed: of the numbers.
        normalization: see above.

    Returns:
        The frame; one unit of an axis is one direction.

    Raises:
        InputError: if the model does not fit, or nothing would move.

    Example:
        >>> from torch import nn
        >>> x, y = torch.eye(2), torch.zeros(2, 3)
        >>> objective = Objective(nn.Linear(2, 3), nn.functional.mse_loss, train=(x, y))
        >>> model = torch.tensor([3.0, 4.0, 0.0, 1.0, 0.0, 0.0, 9.0, 9.0, 9.0])
        >>> found = random_directions(objective, model, 1).directions[0]
        >>> [round(float(norm), 5) for norm in found[:6].reshape(3, 2).norm(dim=1)], found[6:]
        ([5.0, 1.0, 0.0], tensor([0., 0., 0.]))
    """
    if normalization not in NORMALIZATIONS:
        raise InputError(
            f"expected a normalization among {', '.join(NORMALIZATIONS)}, got '{normalization}'"
        )
    if count < 1:
        raise InputError(f"expected at least one direction, got {count}")
    theta = objective.theta(origin, "the origin")
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for _ in range(count):
        # Drawn in float64, so that a model and its float64 twin get the same directions.
        noise = torch.randn(len(theta), generator=generator, dtype=torch.float64)
        rows.append(_normalized(objective, noise.to(theta.device), theta, normalization))
    directions = torch.stack(rows)
    if not directions.any():
        raise InputError(
            "expected a model with weight tensors of two or more dimensions that are not all "
            "zeros, got none: choose --normalization none"
        )
    kind = "" if normalization == "none" else f", {normalization}-normalized"
    return Frame(theta, directions, tuple(f"random direction {i + 1}{kind}" for i in range(count)))


def _normalized(
    objective: Objective, noise: Tensor, theta: Tensor, normalization: Normalization
) -> Tensor:
    if normalization == "none":
        return noise.to(theta)
    parts = []
    own = objective.layout.unflatten(theta.double())
    for name, drawn in objective.layout.unflatten(noise).items():
        if drawn.ndim < 2:
            parts.append(torch.zeros_like(drawn).flatten())
            continue
        rows = len(drawn) if normalization == "filter" else 1
        flat, model = drawn.reshape(rows, -1), own[name].reshape(rows, -1)
        # A filter of zeros gets zeros: the model has no scale to follow there.
        parts.append((flat / flat.norm(dim=1, keepdim=True) * model.norm(dim=1, keepdim=True))
                     .flatten())  # fmt: skip
    return torch.cat(parts).to(theta.dtype)
