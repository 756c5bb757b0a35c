"""Max-pooling as elementwise maxima of strided slices: bit-identical values, several times faster.

On CPUs torch's max-pooling kernel also keeps indices for a backward pass; in an evaluation they
are thrown away. For windows that do not overlap the maximum of a few strided views is the same.
"""

from __future__ import annotations

import copy
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn


class SlicedMaxPool2d(nn.Module):
    """Maximum over windows of `kernel` that tile the image without overlap.

    Args:
        kernel: height and width of a window, also the stride.

    Example:
        >>> x = torch.arange(16.0).reshape(1, 1, 4, 4)
        >>> torch.equal(SlicedMaxPool2d((2, 2))(x), nn.MaxPool2d(2)(x))
        True
    """

    def __init__(self, kernel: tuple[int, int]) -> None:
        super().__init__()
        self.kernel = kernel

    def forward(self, image: Tensor) -> Tensor:
        """Pool `[..., h, w]` to `[..., h // kernel[0], w // kernel[1]]`."""
        rows, columns = self.kernel
        height, width = image.shape[-2] // rows * rows, image.shape[-1] // columns * columns
        image = image[..., :height, :width]
        tall = reduce(torch.maximum, (image[..., i::rows, :] for i in range(rows)))
        return reduce(torch.maximum, (tall[..., j::columns] for j in range(columns)))


def with_fast_pooling(model: nn.Module) -> nn.Module:
    """A copy for evaluation with its tiling max-pool layers replaced; the model if it has none."""
    if not any(_tiles(layer) for layer in model.modules()):
        return model
    model = copy.deepcopy(model)
    if _tiles(model):
        return SlicedMaxPool2d(_pair(model.kernel_size))
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if _tiles(child):
                setattr(parent, name, SlicedMaxPool2d(_pair(child.kernel_size)))
    return model


def _tiles(layer: nn.Module) -> bool:
    return (
        type(layer) is nn.MaxPool2d
        and _pair(layer.kernel_size) == _pair(layer.stride)
        and _pair(layer.padding) == (0, 0)
        and _pair(layer.dilation) == (1, 1)
        and not layer.ceil_mode
        and not layer.return_indices
        and not layer._forward_hooks
        and not layer._forward_pre_hooks
    )


def _pair(size: Any) -> tuple[int, int]:
    """Height and width, from either form in which a layer keeps them."""
    return (size, size) if isinstance(size, int) else (size[0], size[1])
