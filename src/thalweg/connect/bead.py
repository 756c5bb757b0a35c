"""A bead: an intermediate model, from its start to how its training ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from torch import Tensor

Ending = Literal["trained", "stalled", "diverged", "out of steps"]


class Constraint(Protocol):
    """What is asked of a bead beside a low loss, while it trains."""

    def gradient(self, theta: Tensor) -> Tensor:
        """Of what is added to the training loss, `[p]`, at the bead's parameters `[p]`."""
        ...

    def project(self, theta: Tensor) -> Tensor:
        """The parameters `[p]` that a step is brought back to."""
        ...


@dataclass(eq=False)
class Bead:
    """A model in training.

    Attributes:
        start: makes its initial parameters `[p]`, when its turn comes.
        target: train until the criterion is at or below this (α·L0).
        owner: index of the string it belongs to.
        label: how to call it in a message.
        first_value: criterion at the start, if known.
        constraint: makes what is asked of it beside a low loss, when its turn comes.
        theta: `[p]`, once it has left the pool.
        value: the criterion last measured.
        ending: how its training ended, once it has.
        steps: optimizer steps taken.
        gradient_samples: examples gone through in training.
        criterion_evaluations: times its criterion was measured.
        criterion_samples: examples looked at for that.
        seconds: its share of the pool's time.
    """

    start: Callable[[], Tensor]
    target: float
    owner: int = 0
    label: str = "the model"
    first_value: float | None = None
    constraint: Callable[[], Constraint] | None = None
    theta: Tensor | None = None
    value: float = float("nan")
    ending: Ending | None = None
    steps: int = 0
    gradient_samples: int = 0
    criterion_evaluations: int = 0
    criterion_samples: int = 0
    seconds: float = 0.0
