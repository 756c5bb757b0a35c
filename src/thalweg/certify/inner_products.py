"""Convolutions that are inner products on every device, whatever its library would choose.

The error bounds of :mod:`thalweg.certify.rounding` are those of inner products. NNPACK on a CPU and
cuDNN on a GPU may take Winograd's scheme or a Fourier transform instead, whose errors are others:
the one is turned off here, the other is not asked.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.grad import conv2d_input

UNFOLDED = 2**21
"""Bytes of unfolded input that are convolved at once on a CPU: they stay in its cache."""

UNFOLDED_ON_GPU = 2**29
"""The same on a GPU, where all there is to keep is the memory."""

_CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


@dataclass(frozen=True)
class Geometry:
    """How a kernel goes over its input; as the arguments of ``torch.nn.functional.conv2d``."""

    stride: Any = 1
    padding: Any = 0
    dilation: Any = 1
    groups: int = 1

    def convolve(self, data: Tensor, kernel: Tensor) -> Tensor:
        """Inner products of kernels `[o, c / groups, ...]` and patches of `[n, c, ...]`.

        Args:
            data: what the kernels see.
            kernel: of the same type.
        """
        if data.device.type != "cpu":
            parts = data.split(_batch(data, kernel, UNFOLDED_ON_GPU))
            return torch.cat([self._by_patches(part, kernel) for part in parts])
        with torch.backends.nnpack.flags(enabled=False):
            if data.dtype == torch.float32:
                return self._as_torch_does(data, kernel)
            # In float64, torch unfolds a whole batch.
            parts = data.split(_batch(data, kernel, UNFOLDED))
            return torch.cat([self._as_torch_does(part, kernel) for part in parts])

    def pull_back(self, g: Tensor, kernel: Tensor, shape: torch.Size) -> Tensor:
        """The transposed convolution in the plane, of `g` `[k, o, ...]`; one group only.

        Args:
            g: as the output of :meth:`convolve`.
            kernel: of the same type.
            shape: `(c, h, w)` of one input.
        """
        if g.device.type != "cpu":
            return self._fold_back(g, kernel, shape)
        size = (len(g), *shape)
        with torch.backends.nnpack.flags(enabled=False):
            return conv2d_input(size, kernel, g, self.stride, self.padding, self.dilation)

    def _fold_back(self, g: Tensor, kernel: Tensor, shape: torch.Size) -> Tensor:
        """Products with all kernels, each laid where its patch was."""
        across = kernel.flatten(1).t()
        batch = max(1, UNFOLDED_ON_GPU // (across.nbytes // across.shape[1] * g[0, 0].numel()))
        layout = (shape[1:], kernel.shape[2:], self.dilation, self.padding, self.stride)
        return torch.cat([F.fold(across @ part.flatten(2), *layout) for part in g.split(batch)])

    def _as_torch_does(self, data: Tensor, kernel: Tensor) -> Tensor:
        convolution = _CONVOLUTIONS[kernel.ndim - 2]
        return convolution(
            data, kernel, None, self.stride, self.padding, self.dilation, self.groups
        )

    def _by_patches(self, data: Tensor, kernel: Tensor) -> Tensor:
        """One product of all patches and all kernels of a group."""
        outputs, groups, size = len(kernel), self.groups, kernel.shape[2:]
        patches = F.pad(data, self._margins(size))
        for i, width in enumerate(size):
            dilation = entry(self.dilation, i)
            span = dilation * (width - 1) + 1
            patches = patches.unfold(2 + i, span, entry(self.stride, i))[..., ::dilation]
        places = patches.shape[2 : 2 + len(size)]
        n, spatial = len(data), range(3, 3 + len(size))
        patches = patches.unflatten(1, (groups, -1))
        inside = range(3 + len(size), patches.ndim)
        rows = patches.permute(1, 0, *spatial, 2, *inside).reshape(
            groups, n * math.prod(places), -1
        )
        product = rows @ kernel.reshape(groups, outputs // groups, -1).transpose(1, 2)
        product = product.reshape(groups, n, *places, outputs // groups)
        channels_first = product.permute(1, 0, product.ndim - 1, *range(2, product.ndim - 1))
        return channels_first.reshape(n, outputs, *places).contiguous()

    def _margins(self, size: torch.Size) -> list[int]:
        """Padding as ``torch.nn.functional.pad`` wants it: the last dimension first."""
        sides: list[int] = []
        for i in reversed(range(len(size))):
            if self.padding == "same":
                both = entry(self.dilation, i) * (size[i] - 1)
                sides += [both // 2, both - both // 2]
            else:
                sides += [0 if self.padding == "valid" else entry(self.padding, i)] * 2
        return sides


def _batch(data: Tensor, kernel: Tensor, most: int) -> int:
    """Examples whose unfolded input fits."""
    unfolded = kernel[0].numel() * math.prod(data.shape[2:])
    return max(1, most // (data.itemsize * unfolded))


def entry(value: Any, index: int) -> int:
    """One number of a tuple, or of a number that stands for all of them; as torch's arguments."""
    if isinstance(value, int):
        return value
    return value[min(index, len(value) - 1)]
