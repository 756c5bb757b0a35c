"""Images cut, mirrored and standardized as the first layer of a network."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class Crop(nn.Module):
    """Cut images to a square and standardize each; in training a random square, distorted.

    In training the place of the square, its mirror image (left to right, one time in two), a
    brightness added (within ±63) and a contrast (within .2 to 1.8 about each channel's mean) are
    drawn anew for every image from torch's global generator, as in TensorFlow's CIFAR-10 tutorial.
    In evaluation it is the middle, as it is. Then the mean of an image is taken off and its
    standard deviation divided out, which is taken to be at least `1 / sqrt(numbers of an image)`.

    Args:
        size: pixels along a side of the square.

    Example:
        >>> images = torch.arange(2 * 3 * 6 * 6, dtype=torch.float64).reshape(2, 3, 6, 6)
        >>> cut = Crop(4).eval()(images)
        >>> cut.shape, bool(cut.mean().abs() < 1e-12)
        (torch.Size([2, 3, 4, 4]), True)
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, images: Tensor) -> Tensor:
        """From `[n, c, h, w]`, 0 to 255, to `[n, c, size, size]`."""
        height, width = images.shape[-2:]
        if self.training:
            return standardize(distort(self._random_part(images)))
        top, left = (height - self.size) // 2, (width - self.size) // 2
        return standardize(images[..., top : top + self.size, left : left + self.size])

    def _random_part(self, images: Tensor) -> Tensor:
        n, _, height, width = images.shape
        reach = torch.arange(self.size, device=images.device)
        rows = torch.randint(height - self.size + 1, (n, 1), device=images.device) + reach
        columns = torch.randint(width - self.size + 1, (n, 1), device=images.device) + reach
        mirrored = torch.rand(n, 1, device=images.device) < 0.5
        columns = torch.where(mirrored, columns.flip(1), columns)
        each = torch.arange(n, device=images.device)[:, None, None]
        # Advanced indices before and behind a slice put their dimensions first.
        return images[each, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def distort(images: Tensor) -> Tensor:
    """Change brightness and contrast of each image at random.

    Args:
        images: `[n, c, h, w]`.
    """
    n = len(images)
    brightness = torch.empty(n, 1, 1, 1, dtype=images.dtype, device=images.device)
    contrast = torch.empty_like(brightness)
    images = images + brightness.uniform_(-63, 63)
    mean = images.mean((2, 3), keepdim=True)
    return (images - mean) * contrast.uniform_(0.2, 1.8) + mean


def standardize(images: Tensor) -> Tensor:
    """Give each image mean 0 and standard deviation 1.

    Args:
        images: `[n, c, h, w]`. The deviation of a constant image is not zero but
            `1 / sqrt(c h w)`.
    """
    numbers = math.prod(images.shape[1:])
    mean = images.mean((1, 2, 3), keepdim=True)
    deviation = (images - mean).square().mean((1, 2, 3), keepdim=True).sqrt()
    return (images - mean) / deviation.clamp_min(numbers**-0.5)
