"""Landscapes in two dimensions whose minima, saddles and barriers are known."""

from __future__ import annotations

import math

import torch
from torch import Tensor

# Müller & Brown 1979: coefficients, and critical points as given in the literature.
_A = torch.tensor([-200.0, -100.0, -170.0, 15.0], dtype=torch.float64)
_a = torch.tensor([-1.0, -1.0, -6.5, 0.7], dtype=torch.float64)
_b = torch.tensor([0.0, 0.0, 11.0, 0.6], dtype=torch.float64)
_c = torch.tensor([-10.0, -10.0, -6.5, 0.7], dtype=torch.float64)
_X = torch.tensor([1.0, 0.0, -0.5, -1.0], dtype=torch.float64)
_Y = torch.tensor([0.0, 0.5, 1.5, 1.0], dtype=torch.float64)

MULLER_BROWN_MINIMA = {(-0.5582, 1.4417): -146.6995, (-0.0500, 0.4667): -80.7678,
                       (0.6235, 0.0280): -108.1667}  # fmt: skip
MULLER_BROWN_SADDLES = {(-0.8220, 0.6243): -40.6648, (0.2125, 0.2930): -72.2489}


def muller_brown(w: Tensor) -> Tensor:
    x, y = w[0] - _X.to(w), w[1] - _Y.to(w)
    return (_A.to(w) * torch.exp(_a.to(w) * x**2 + _b.to(w) * x * y + _c.to(w) * y**2)).sum()


def two_wells(w: Tensor) -> Tensor:
    """Minima 0 at (±1, 0); between them a saddle at the origin, of height 1 and index 1."""
    return (w[0] ** 2 - 1) ** 2 + 2 * w[1] ** 2


def rastrigin(w: Tensor) -> Tensor:
    """Minima near all integer points, index-1 saddles near half-integer ones in one coordinate."""
    return 10 * len(w) + (w**2 - 10 * torch.cos(2 * math.pi * w)).sum()


def monkey(w: Tensor) -> Tensor:
    """Degenerate at the origin: its Hessian is zero there."""
    return w[0] ** 3 - 3 * w[0] * w[1] ** 2
