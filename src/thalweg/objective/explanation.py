"""What was measured to choose how stacks of models are carried out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from thalweg.objective.objective import Objective
from thalweg.objective.planning import Plan, Planner

# Bytes of the largest stack that is tried.
_STACK_BYTES = 1 << 28


@dataclass(frozen=True)
class Explanation:
    """How one kind of work on one size of stack is carried out, and why.

    Attributes:
        work: ``"evaluation"`` of the criterion, or ``"gradients"`` of the training loss.
        models: in the stack.
        plan: the one that is used.
        measured: seconds a model-example of every plan that was tried, in the order of trying; a
            later one replaces an earlier one only if it is faster by more than noise.
    """

    work: str
    models: int
    plan: Plan
    measured: dict[Plan, float]


def explain(objective: Objective, models: Sequence[int] = (1, 8, 64)) -> list[Explanation]:
    """Measure afresh how stacks are carried out fastest; choices made before stay as they are.

    Args:
        objective: whose criterion and training loss.
        models: sizes of the stacks; sizes that would take more than 256 MB are left out.

    Returns:
        Evaluation for each size, then gradients for each.

    Example:
        >>> from torch import nn
        >>> x = torch.linspace(0, 1, 8).reshape(8, 1)
        >>> objective = Objective(nn.Linear(1, 1), nn.functional.mse_loss, train=(x, x))
        >>> [(e.work, e.models, e.plan in e.measured) for e in explain(objective, models=(1,))]
        [('evaluation', 1, True), ('gradients', 1, True)]
    """
    twin = objective.to(objective.device)  # with choices of its own
    planner = twin._engine.planner = Planner(twin._identity(), twin.strategy, remembers=False)
    row = twin.layout.size * twin.layout.dtype.itemsize
    sizes = [k for k in models if k == 1 or k * row <= _STACK_BYTES]
    batch = next(twin.minibatches(0))

    def evaluate(stack: Tensor) -> None:
        # A level that hardly anything is below: models leave as soon as they may.
        twin.criterion_of(stack, ceiling=1e-30, guess=True)

    def differentiate(stack: Tensor) -> None:
        twin.gradients(stack, batch)

    works: dict[str, Callable[[Tensor], None]] = {
        "evaluation": evaluate, "gradients": differentiate
    }  # fmt: skip
    found = []
    for work, carry_out in works.items():
        for size in sizes:
            before = set(planner.measured)
            carry_out(_stack(twin, size))
            found += [
                Explanation(work, size, planner.plans[key], measured)
                for key, measured in planner.measured.items()
                if key not in before
            ]
    return found


def _stack(objective: Objective, models: int) -> Tensor:
    """The model's own weights, `[models, p]`, each a little beside the others."""
    generator = torch.Generator().manual_seed(0)
    theta = objective.layout.flatten(dict(objective.model.named_parameters())).cpu()
    noise = torch.randn(models, len(theta), generator=generator, dtype=theta.dtype)
    return noise.mul_(0.01).add_(theta).to(objective.device)
