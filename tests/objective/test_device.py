"""Computation stays on the device of the objective.

The device "meta" is there on every machine; it knows shapes and no numbers, and refuses to work
with tensors that were left on the CPU.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.helpers import PROBLEMS
from thalweg import Objective, Training
from thalweg.connect.optimizers import stack_optimizer
from thalweg.objective.strategies import STRATEGIES

META = torch.device("meta")


def weighted() -> Objective:
    problem = PROBLEMS["one output"]
    loss = nn.BCEWithLogitsLoss(pos_weight=torch.tensor(2.0, dtype=torch.float64))
    return Objective(problem.module(), loss, train=problem.data())


def test_everything_moves_and_the_original_stays():
    before = weighted()
    objective = before.to(META)
    assert objective.device == META
    assert {p.device for p in objective.model.parameters()} == {META}
    assert {t.device for t in (*objective.splits["train"].inputs,
                               objective.splits["train"].target)} == {META}  # fmt: skip
    assert isinstance(objective.loss, nn.Module)
    assert {buffer.device for buffer in objective.loss.buffers()} == {META}
    assert {buffer.device for buffer in before.loss.buffers()} == {torch.device("cpu")}  # pyright: ignore
    assert {p.device for p in before.model.parameters()} == {torch.device("cpu")}


@pytest.mark.parametrize(
    ("problem", "strategy"),
    [(name, s) for name, p in PROBLEMS.items() for s in p.strategies if name != "lstm"],
)
def test_a_gradient_leaves_nothing_on_the_cpu(problem, strategy):
    objective = PROBLEMS[problem].build().to(META)
    stack = torch.zeros(3, objective.layout.size, dtype=torch.float64, device=META)
    inputs, target = next(objective.minibatches(0))
    gradients, values = STRATEGIES[strategy].gradients(
        objective._training_work, stack, inputs, target
    )
    assert (gradients.device, gradients.shape) == (META, stack.shape)
    assert values.device == META


@pytest.mark.parametrize("name", ["Adam", "AdamW", "SGD", "RMSprop"])
def test_an_optimizer_keeps_its_state_on_the_device(name):
    options = {"momentum": 0.9} if name in ("SGD", "RMSprop") else {}
    stack = torch.zeros(0, 5, device=META)
    optimizer = stack_optimizer(Training(name, options=options), stack)
    for models in (2, 3):
        optimizer.grow(models)
        stack = torch.cat([stack, torch.zeros(models, 5, device=META)])
        optimizer.step(stack, torch.ones_like(stack))
    optimizer.keep(torch.tensor([0, 2], device=META))
    optimizer.step(stack[:2], torch.ones(2, 5, device=META))
