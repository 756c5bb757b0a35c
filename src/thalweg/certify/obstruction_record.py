"""What an obstruction is: a lower bound of the maximum over every path between two models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from thalweg.objective import Objective


@dataclass(frozen=True)
class Obstructed:
    """A proof of disconnection.

    Attributes:
        bound: every continuous path between the two models has a point where the criterion is at
            least this; positive.
        attained: a value that the criterion comes arbitrarily close to, or below, on the set that
            every path crosses: no bound from this set can be higher.
        reason: the argument, in a sentence.
    """

    bound: float
    attained: float
    reason: str


@dataclass(frozen=True)
class NotApplicable:
    """The argument says nothing about these two models.

    Attributes:
        reason: why, in a sentence.
    """

    reason: str


class Obstruction(Protocol):
    """An argument why two models cannot be connected below some level."""

    @property
    def name(self) -> str:
        """How refusals call it."""
        ...

    def lower_bound(
        self, objective: Objective, theta_a: Tensor, theta_b: Tensor
    ) -> Obstructed | NotApplicable:
        """Bound the maximum of the criterion over every continuous path from below.

        Args:
            objective: whose criterion.
            theta_a: `[p]`, one end.
            theta_b: `[p]`, the other end.

        Returns:
            The proved bound with its reason, or why there is none.
        """
        ...
