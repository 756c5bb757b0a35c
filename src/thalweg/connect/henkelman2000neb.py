"""The nudged elastic band: tangents, forces and springs of a chain of images.

G. Henkelman, H. Jónsson, *Improved tangent estimate in the nudged elastic band method for finding
minimum energy paths and saddle points*, J. Chem. Phys. 113, 9978 (2000).
"""

from __future__ import annotations

import torch
from torch import Tensor


def tangents(path: Tensor, values: Tensor) -> Tensor:
    """Unit tangents at the images between the ends: towards the neighbour that is higher.

    Args:
        path: `[n + 2, p]`, images with both ends.
        values: `[n + 2]`, the energy V (here: the loss) of each.

    Returns:
        `[n, p]`, of length one; zero where neighbours coincide.

    Example:
        >>> path = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]])
        >>> tangents(path, torch.tensor([0.0, 1.0, 2.0]))  # uphill: towards the next image
        tensor([[0., 1.]])
    """
    forward, backward = path[2:] - path[1:-1], path[1:-1] - path[:-2]  # Eq. 9: τ+ and τ−
    values = values.to(path)
    ahead, behind = values[2:] - values[1:-1], values[:-2] - values[1:-1]
    largest = torch.maximum(ahead.abs(), behind.abs())  # Eq. 11
    least = torch.minimum(ahead.abs(), behind.abs())
    rising = (ahead > 0) & (behind < 0)
    falling = (ahead < 0) & (behind > 0)
    # Eq. 10: at an extremum, both; the one towards the higher neighbour weighs more.
    next_is_higher = values[2:] > values[:-2]
    weight_ahead = torch.where(next_is_higher, largest, least)
    weight_behind = torch.where(next_is_higher, least, largest)
    # Where both differences vanish nothing tells the sides apart.
    flat = largest == 0
    one, zero = torch.ones_like(largest), torch.zeros_like(largest)
    # Eq. 8: on a slope, the segment towards the higher neighbour alone.
    weight_ahead = torch.where(rising | flat, one, torch.where(falling, zero, weight_ahead))
    weight_behind = torch.where(falling | flat, one, torch.where(rising, zero, weight_behind))
    both = forward * weight_ahead[:, None] + backward * weight_behind[:, None]
    length = torch.linalg.vector_norm(both, dim=1, keepdim=True)
    return torch.where(length > 0, both / length, torch.zeros_like(both))


def nudged(
    gradients: Tensor, path: Tensor, directions: Tensor, spring: float | None = None
) -> Tensor:
    """The force on each image, with its sign changed: what an optimizer descends.

    The true force acts across the band only, the spring along it only: images neither slide into
    the minima nor cut corners.

    Args:
        gradients: `[n, p]`, of the loss.
        path: `[n + 2, p]`, images with both ends.
        directions: `[n, p]`, unit tangents.
        spring: constant k; None: no spring, the images are spaced otherwise.

    Returns:
        `[n, p]`.
    """
    along = (gradients * directions).sum(1, keepdim=True)
    across = gradients - along * directions  # the gradient without its part along the band
    if spring is None:
        return across
    lengths = torch.linalg.vector_norm(path[1:] - path[:-1], dim=1)
    pull = spring * (lengths[1:] - lengths[:-1])  # Eq. 12
    return across - pull[:, None] * directions


def spaced(path: Tensor, shares: Tensor) -> Tensor:
    """The images moved along the band to where they belong: springs that are infinitely stiff.

    Args:
        path: `[n + 2, p]`, images with both ends.
        shares: `[n + 1]`, of the length that each segment is to have, with a sum of one.

    Returns:
        `[n, p]`, on the same polygon.

    Example:
        >>> spaced(torch.tensor([[0.0], [1.0], [4.0]]), torch.tensor([0.5, 0.5]))
        tensor([[2.]])
    """
    lengths = torch.linalg.vector_norm(path[1:] - path[:-1], dim=1, dtype=torch.float64)
    knots = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
    wanted = knots[-1] * shares.to(lengths).cumsum(0)[:-1]
    segment = (torch.searchsorted(knots, wanted, right=True) - 1).clamp(0, len(lengths) - 1)
    inside = (wanted - knots[segment]) / lengths[segment].clamp(min=1e-300)
    inside = inside.clamp(0, 1).to(path.dtype)[:, None]
    return (1 - inside) * path[segment] + inside * path[segment + 1]
