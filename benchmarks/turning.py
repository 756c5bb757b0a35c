"""A linear network whose level set is a circle: as many beads as one asks for, at little cost.

The hidden units of x → W2 W1 x can be rotated, W1 → R W1 and W2 → W2 Rᵀ, without a change of the
function. On the circle from one end of a quarter turn to the other the loss is zero; at the
middle of a chord over the angle θ it is sin⁴(θ/2), relative to the outputs. So the threshold says
into how many chords the string must be cut.
"""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor, nn

from thalweg.objective import Objective, Training

_TURN = math.pi / 2


def turning(
    inputs: int, hidden: int, outputs: int, *, examples: int, seed: int
) -> tuple[Objective, Tensor, Tensor]:
    """The objective and both endpoints `[p]`, at a loss of zero.

    Args:
        inputs: width of the input.
        hidden: units to be rotated in pairs; even.
        outputs: width of the output.
        examples: of the data.
        seed: of weights and data.
    """
    generator = Generator().manual_seed(seed)
    x = torch.randn(examples, inputs, generator=generator)
    first = torch.randn(hidden, inputs, generator=generator) / math.sqrt(inputs)
    second = torch.randn(outputs, hidden, generator=generator) / math.sqrt(hidden)
    y = (x.double() @ first.double().T @ second.double().T).float()
    # A third of the inverse of the curvature, which is the sum of that of both layers.
    rate = examples * outputs / (inputs + hidden) / 6
    model = nn.Sequential(
        nn.Linear(inputs, hidden, bias=False), nn.Linear(hidden, outputs, bias=False)
    )
    objective = Objective(
        model, nn.functional.mse_loss, train=(x, y), training=Training("SGD", learning_rate=rate)
    )
    turned = torch.cat([_turned(first).reshape(-1), _turned(second.T).T.reshape(-1)])
    return objective, torch.cat([first.reshape(-1), second.reshape(-1)]), turned


def threshold(objective: Objective, beads: int) -> float:
    """A level L0 for which about so many beads are needed.

    Beads end a little below L0 rather than at zero: measured, a chord is 1.25 times shorter than
    one between points of the circle.
    """
    scale = float(objective.splits["train"].target.square().mean())
    return scale * (1.25 * _TURN / beads) ** 4


def _turned(rows: Tensor) -> Tensor:
    """Rows rotated in pairs, `[hidden, n]`."""
    even, odd = rows[0::2].double(), rows[1::2].double()
    cos, sin = math.cos(_TURN), math.sin(_TURN)
    turned = torch.stack([cos * even - sin * odd, sin * even + cos * odd], dim=1)
    return turned.reshape(rows.shape).float()
