"""Small networks beyond those of `tests.helpers`: attention, and layers with exact traces."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thalweg import Objective


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.into, self.norm, self.out = nn.Linear(3, 12), nn.LayerNorm(4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.into(x).reshape(*x.shape[:2], 3, 2, 2).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(q, k, v)
        return self.out(self.norm(seen.transpose(1, 2).flatten(2))).mean(1)


class Piecewise(nn.Module):
    """All layers with exact traces: convolutions of several kinds, BatchNorm, a residual sum."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.groups = nn.Conv2d(4, 4, 3, padding="same", groups=2, bias=False)
        self.long = nn.Conv1d(4, 3, 2, stride=2)
        self.wrap = nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular", dilation=1)
        self.places, self.out = nn.Linear(8, 5), nn.Linear(15, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.first(self.wrap(x))))
        x = F.max_pool2d(x + F.relu(self.groups(x)), 2)
        x = F.leaky_relu(self.long(x.flatten(2)))
        return self.out(torch.relu(self.places(x)).flatten(1))


def attention() -> Objective:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        data = torch.randn(20, 5, 3).double(), torch.randn(20, 2).double()
        return Objective(Attention().double(), F.mse_loss, train=data, strategy="loop")


def piecewise(examples: int = 20) -> Objective:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        data = torch.randn(examples, 1, 8, 8).double(), torch.randint(0, 3, (examples,))
        return Objective(Piecewise().double(), F.cross_entropy, train=data, strategy="loop")
