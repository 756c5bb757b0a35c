"""Progressive sharpening: a small tanh network with squared loss on handwritten digits.

The setting of Cohen et al. 2021 in miniature.

    thalweg edge --problem examples/edge_of_stability.py:problem --learning-rates 0.2,0.16,0.13 \
        --steps 2400 --out edge.png
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn

import thalweg


def squares(output: Tensor, target: Tensor) -> Tensor:
    """Half the squared distance to the one-hot target, one value an example."""
    return (output - F.one_hot(target, 10).to(output)).square().sum(1) / 2


def problem() -> thalweg.Objective:
    """A network 64-32-10 with tanh, and 1,400 images."""
    pixels, labels = load_digits(return_X_y=True)
    x, y = torch.tensor(pixels[:1400], dtype=torch.float32) / 16, torch.tensor(labels[:1400])
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10))
    return thalweg.Objective(model, squares, train=(x, y))
