"""Networks with two layers, for proofs of disconnection."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from thalweg import Objective
from thalweg.certify.shallow import Shallow

SWAP, CYCLE = (1, 0, 2), (1, 2, 0)


def two_layers(
    x: Tensor, y: Tensor, units: int, bias: bool = False, out_bias: bool = False
) -> Objective:
    model = nn.Sequential(
        nn.Linear(x.shape[1], units, bias), nn.ReLU(), nn.Linear(units, y.shape[1], out_bias)
    )
    return Objective(model, F.mse_loss, train=(x, y), strategy="loop")


def regular(made: Objective, seed: int) -> Tensor:
    """θ whose hidden outputs have a determinant other than zero."""
    shallow, generator = Shallow.of(made), torch.Generator().manual_seed(seed)
    while True:
        theta = torch.randn(made.layout.size, generator=generator)
        weights = shallow.weights(theta.double())
        z = shallow.inputs @ weights.w1.T + (0 if weights.b1 is None else weights.b1)
        if abs(np.linalg.det(np.maximum(z, 0))) > 1e-3:
            return theta


def swapped(made: Objective, theta: Tensor, order: tuple[int, ...] = SWAP) -> Tensor:
    return Shallow.of(made).permute_hidden(theta, order)


def fewer_units(made: Objective, angles: np.ndarray) -> float:
    """Least loss of hidden units in the plane with these directions, by least squares."""
    shallow = Shallow.of(made)
    w = np.stack([np.cos(angles), np.sin(angles)])
    hidden = np.maximum(shallow.inputs @ w, 0)
    return shallow.scale * np.sum(
        (shallow.target - hidden @ np.linalg.lstsq(hidden, shallow.target, rcond=1e-12)[0]) ** 2
    )
