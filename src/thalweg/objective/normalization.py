"""Local response normalization by one product with a band of ones: the same values, faster.

On CPUs torch sums the squares of neighbouring channels by a three-dimensional pooling, which takes
longer than the convolutions around it. The same sums are a product of all channels with a band
matrix: more multiplications, at the speed of a matrix product.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thalweg.objective.layers import is_hooked, with_layers_replaced

# Channels up to which the band pays: its product grows with their square.
_CHANNELS = 512
# The published exponent (Krizhevsky et al. 2012), which takes two square roots.
_THREE_QUARTERS = 0.75


class BandedResponseNorm(nn.Module):
    """What :class:`torch.nn.LocalResponseNorm` computes, to rounding.

    Args:
        size: channels in a window.
        alpha: factor of their mean square.
        beta: exponent.
        k: added to it.

    Example:
        >>> x = torch.arange(8.0).reshape(1, 4, 2)
        >>> torch.allclose(BandedResponseNorm(3, 0.1, 0.75, 1.0)(x),
        ...                nn.LocalResponseNorm(3, 0.1)(x))
        True
    """

    def __init__(self, size: int, alpha: float, beta: float, k: float) -> None:
        super().__init__()
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, x: Tensor) -> Tensor:
        """Normalize `[n, c, ...]`."""
        channels = x.shape[1]
        if x.ndim < 3 or channels > _CHANNELS:
            return F.local_response_norm(x, self.size, self.alpha, self.beta, self.k)
        places = torch.arange(channels, device=x.device)
        ahead = places - places[:, None]
        inside = (ahead >= -(self.size // 2)) & (ahead <= (self.size - 1) // 2)
        band = inside.to(x.dtype) * (self.alpha / self.size)
        square = (x * x).flatten(2)[..., None]
        scale = F.conv2d(square, band[:, :, None, None]).reshape(x.shape) + self.k
        if self.beta == _THREE_QUARTERS:
            root = scale.rsqrt()
            return x * (root * root.sqrt())
        return x * scale.pow(-self.beta)


def with_fast_normalization(model: nn.Module) -> nn.Module:
    """A copy with its local response normalization replaced; the model if it has none."""
    return with_layers_replaced(model, _banded)


def _banded(layer: nn.Module) -> nn.Module | None:
    if type(layer) is not nn.LocalResponseNorm or is_hooked(layer):
        return None
    return BandedResponseNorm(layer.size, layer.alpha, layer.beta, layer.k)
