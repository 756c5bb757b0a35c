"""A linear network whose level set is a circle: as many beads as one asks for, at little cost.

The hidden units of x → W2 W1 x can be rotated, W1 → R W1 and W2 → W2 Rᵀ, without a change of the
function. On the circle from one end of a quarter turn to the other the loss is zero; at the
middle of a chord over the angle θ it is sin⁴(θ/2), relative to the outputs. So the threshold says
into how many chords the string must be cut.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from thalweg.objective import Objective, Training

# From one end of a string to the other.
_TURN = math.pi / 2


@dataclass(frozen=True)
class Turning:
    """The problem, and the circle of its solutions.

    Attributes:
        objective: mean squared error.
        first: W1, `[hidden, inputs]`.
        second: W2, `[outputs, hidden]`.
    """

    objective: Objective
    first: Tensor
    second: Tensor

    def at(self, angle: float) -> Tensor:
        """The point `[p]` of the circle at an angle."""
        first, second = _turned(self.first, angle), _turned(self.second.T, angle).T
        return torch.cat([first.reshape(-1), second.reshape(-1)])

    def pair(self, start: float = 0.0) -> tuple[Tensor, Tensor]:
        """Endpoints a quarter turn apart."""
        return self.at(start), self.at(start + _TURN)

    def threshold(self, beads: int) -> float:
        """A level L0 for which about so many beads are needed between the ends of a pair.

        Beads end a little below L0 rather than at zero: measured, a chord is 1.25 times shorter
        than one between points of the circle.
        """
        scale = float(self.objective.splits["train"].target.square().mean())
        return scale * (1.25 * _TURN / beads) ** 4


def turning(inputs: int, hidden: int, outputs: int, *, examples: int, seed: int) -> Turning:
    """Draw a problem.

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
    # A third of the inverse of the curvature: along an example both layers contribute; examples
    # beyond the inputs share directions.
    rate = min(examples, inputs) * outputs / (inputs + hidden) / 6
    model = nn.Sequential(
        nn.Linear(inputs, hidden, bias=False), nn.Linear(hidden, outputs, bias=False)
    )
    objective = Objective(
        model, nn.functional.mse_loss, train=(x, y), training=Training("SGD", learning_rate=rate)
    )
    return Turning(objective, first, second)


def _turned(rows: Tensor, angle: float) -> Tensor:
    """Rows rotated in pairs, `[hidden, n]`."""
    even, odd = rows[0::2].double(), rows[1::2].double()
    cos, sin = math.cos(angle), math.sin(angle)
    turned = torch.stack([cos * even - sin * odd, sin * even + cos * odd], dim=1)
    return turned.reshape(rows.shape).float()
