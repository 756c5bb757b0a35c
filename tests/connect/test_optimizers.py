"""Steps on stacks against torch's own optimizers, models coming and going."""

from __future__ import annotations

import pytest
import torch

from thalweg import InputError, Training
from thalweg.connect.optimizers import stack_optimizer

RECIPES = [
    ("Adam", {}), ("Adam", {"betas": (0.5, 0.9), "eps": 1e-3, "weight_decay": 0.1}),
    ("Adam", {"amsgrad": True}), ("Adam", {"maximize": True}),
    ("Adam", {"weight_decay": 0.5, "decoupled_weight_decay": True}),
    ("AdamW", {}), ("AdamW", {"weight_decay": 0.3, "betas": (0.8, 0.99)}),
    ("AdamW", {"amsgrad": True}),
    ("SGD", {}), ("SGD", {"momentum": 0.9}), ("SGD", {"momentum": 0.9, "dampening": 0.3}),
    ("SGD", {"momentum": 0.8, "nesterov": True, "weight_decay": 0.05}),
    ("SGD", {"weight_decay": 0.1, "maximize": True}),
    ("RMSprop", {}), ("RMSprop", {"alpha": 0.5, "momentum": 0.9, "weight_decay": 0.02}),
    ("RMSprop", {"centered": True}),
    ("Adagrad", {}), ("Adadelta", {}), ("NAdam", {}), ("RAdam", {}), ("Adamax", {}), ("ASGD", {}),
    ("Rprop", {}),
]  # fmt: skip


def gradient(theta: torch.Tensor, step: int, model: int) -> torch.Tensor:
    """Of a stiff quadratic, with noise that depends on model and step alone."""
    generator = torch.Generator().manual_seed(1000 * model + step)
    noise = torch.randn(theta.shape, generator=generator, dtype=theta.dtype)
    return torch.linspace(0.1, 3, theta.shape[-1], dtype=theta.dtype) * theta + 0.3 * noise


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("name", "options"), RECIPES)
def test_fifty_steps_agree_with_torch_while_models_join_and_leave(name, options, dtype):
    size, rate = 6, 0.02
    like = torch.zeros(0, size, dtype=dtype)
    optimizer = stack_optimizer(Training(name, rate, options), like)
    stack, flying, alone = like, [], {}

    def join(*models):
        nonlocal stack
        optimizer.grow(len(models))
        for model in models:
            start = torch.linspace(-1, 1, size, dtype=dtype) + model
            stack = torch.cat([stack, start[None]])
            parameter = torch.nn.Parameter(start.clone())
            own = getattr(torch.optim, name)([parameter], lr=rate, **options)
            alone[model] = (parameter, own)
            flying.append(model)

    def leave(*models):
        nonlocal stack, flying
        stay = [i for i, model in enumerate(flying) if model not in models]
        stack = stack[stay]
        optimizer.keep(torch.tensor(stay, dtype=torch.long))
        flying = [flying[i] for i in stay]

    join(0, 1)
    for step in range(50):
        if step == 7:
            join(2)
        if step == 15:
            leave(0)
        if step == 22:
            join(3, 4)
        if step == 30:
            leave(2, 4)
        gradients = torch.stack(
            [gradient(row, step, model) for row, model in zip(stack, flying, strict=True)]
        )
        for model in flying:
            parameter, own = alone[model]
            parameter.grad = gradient(parameter.detach(), step, model)
            own.step()
        optimizer.step(stack, gradients)
    assert flying == [1, 3]
    tolerance = {torch.float32: 2e-5, torch.float64: 1e-12}[dtype]
    for row, model in zip(stack, flying, strict=True):
        torch.testing.assert_close(row, alone[model][0].data, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("training", "words"), [
    (Training("LBFGS"), "'LBFGS', which evaluates"),
    (Training("Newton"), "'Newton'"), (Training("lr_scheduler"), "'lr_scheduler'"),
    (Training("Optimizer"), "."), (Training("Adam", options={"beta": 0.9}), "beta"),
    (Training("SGD", options={"nesterov": True}), "[Nn]esterov"),
    (Training("Adam", learning_rate=-1.0), "-1"),
])  # fmt: skip
def test_an_optimizer_that_cannot_be_used_is_refused(training, words):
    with pytest.raises(InputError, match=words):
        stack_optimizer(training, torch.zeros(0, 3))


def test_a_model_whose_gradient_is_nan_does_not_touch_the_others():
    for name, options in RECIPES:
        plain, beside = (
            stack_optimizer(Training(name, 0.1, options), torch.zeros(0, 3)) for _ in "ab"
        )
        plain.grow(1)
        beside.grow(2)
        one, two = torch.ones(1, 3), torch.ones(2, 3)
        for step in range(3):
            grad = torch.full((1, 3), 0.1 * (step + 1))
            plain.step(one, grad)
            beside.step(two, torch.cat([grad * torch.nan, grad]))
        assert torch.equal(one[0], two[1])
