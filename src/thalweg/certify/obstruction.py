"""Obstructions: lower bounds of the maximum over every path, proofs of disconnection.

A search that finds no path below a level proves nothing. An obstruction does: a set that every
continuous path between two models has to cross, and a proved lower bound of the criterion on it.
"""

from __future__ import annotations

from collections.abc import Sequence

from thalweg.certify.obstruction_determinant import DeterminantSign
from thalweg.certify.obstruction_rank import RankOfTwoUnits
from thalweg.certify.obstruction_record import NotApplicable, Obstructed, Obstruction
from thalweg.objective import Objective
from thalweg.parameters import Source

OBSTRUCTIONS: tuple[Obstruction, ...] = (DeterminantSign(), RankOfTwoUnits())
"""All known arguments, at their default settings."""

__all__ = ["OBSTRUCTIONS", "NotApplicable", "Obstructed", "Obstruction", "obstruct"]


def obstruct(
    objective: Objective,
    theta_a: Source,
    theta_b: Source,
    obstructions: Sequence[Obstruction] = OBSTRUCTIONS,
) -> Obstructed | NotApplicable:
    """The best proved lower bound of the maximum over every path between two models.

    Args:
        objective: whose criterion.
        theta_a: one end: a module, state dict, flat vector `[p]` or file.
        theta_b: the other end.
        obstructions: the arguments to try.

    Returns:
        The largest bound with its reason; or why no argument applies.

    Raises:
        InputError: if an end does not fit the objective.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Linear(2, 2, False), nn.ReLU(), nn.Linear(2, 1, False))
        >>> data = torch.eye(2), torch.tensor([[1.0], [-1.0]])
        >>> made = Objective(net, nn.functional.mse_loss, train=data)
        >>> a = torch.tensor([1.0, 0, 0, 1, 1, -1])  # unit 1 sees example 1, unit 2 example 2
        >>> b = torch.tensor([0.0, 1, 1, 0, -1, 1])  # the units swapped
        >>> found = obstruct(made, a, b)
        >>> round(found.bound, 3), obstruct(made, a, a).reason[:16]
        (0.5, 'determinant sign')
    """
    ends = [objective.theta(theta_a, "end A"), objective.theta(theta_b, "end B")]
    best: Obstructed | None = None
    refusals = []
    for obstruction in obstructions:
        found = obstruction.lower_bound(objective, *ends)
        if isinstance(found, NotApplicable):
            refusals.append(f"{obstruction.name}: {found.reason}")
        elif best is None or found.bound > best.bound:
            best = found
    return best or NotApplicable("; ".join(refusals) or "no argument was tried")
