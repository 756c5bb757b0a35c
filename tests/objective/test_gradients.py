"""Gradients of stacks against torch.autograd on one model."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.helpers import PROBLEMS, random_stack
from thalweg import InputError, Objective, Training
from thalweg.objective.strategies import STRATEGIES

CASES = [
    (name, strategy)
    for name, problem in PROBLEMS.items()
    for strategy in STRATEGIES
    if strategy in problem.strategies and name != "dropout"
]


def by_hand(objective: Objective, theta: Tensor, batch) -> tuple[Tensor, Tensor]:
    """One call of the model in training mode and one backward pass."""
    model = objective.model.train()
    theta = theta.clone().requires_grad_()
    inputs = batch[0] if isinstance(batch[0], tuple) else (batch[0],)
    loss = objective.loss(
        torch.func.functional_call(model, objective.layout.unflatten(theta), inputs), batch[1]
    ).mean()
    (gradient,) = torch.autograd.grad(loss, theta)
    model.eval()
    return gradient, loss.detach()


@pytest.mark.parametrize(("name", "strategy"), CASES)
@pytest.mark.parametrize("batch_size", [None, 32])
def test_every_strategy_gives_the_gradient_of_autograd(name, strategy, batch_size):
    objective = PROBLEMS[name].build(strategy=strategy, training=Training(batch_size=batch_size))
    batch = next(objective.minibatches(0))
    assert len(batch[1]) == (batch_size or 150)
    for models in (1, 5):
        stack = random_stack(objective, models)
        got = objective.gradients(stack, batch)
        for i, theta in enumerate(stack):
            gradient, loss = by_hand(objective, theta, batch)
            torch.testing.assert_close(got.gradients[i], gradient, rtol=1e-9, atol=1e-12)
            assert float(got.losses[i]) == pytest.approx(float(loss), rel=1e-12)
        assert got.samples == models * len(batch[1])


@pytest.mark.parametrize("name", ["mlp", "cnn", "lstm"])
def test_gradients_put_together_from_parts_of_a_large_batch_equal_the_whole(name):
    problem = PROBLEMS[name]
    inputs, target = problem.data()
    objective = problem.build(train=(inputs.repeat(8, *[1] * (inputs.ndim - 1)),
                                     target.repeat(8, *[1] * (target.ndim - 1))))  # fmt: skip
    batch = next(objective.minibatches(0))
    stack = random_stack(objective, 3)
    expected = torch.stack([by_hand(objective, theta, batch)[0] for theta in stack])
    got = objective.gradients(stack, batch).gradients
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-12)


def test_the_penalty_is_added_to_the_training_loss_alone():
    def penalty(parameters):
        return 3 * sum(t.square().sum() for n, t in parameters.items() if "weight" in n)

    plain, penalized = PROBLEMS["mlp"].build(), PROBLEMS["mlp"].build(penalty=penalty)
    stack = random_stack(plain, 4)
    batch = next(plain.minibatches(0))
    weights = torch.cat(
        [torch.full((size,), float("weight" in name)).double()
         for name, size in zip(plain.layout.names, plain.layout.sizes, strict=True)]
    )  # fmt: skip
    extra = penalized.gradients(stack, batch).gradients - plain.gradients(stack, batch).gradients
    torch.testing.assert_close(extra, 6 * weights * stack, rtol=1e-9, atol=1e-12)
    values = penalized.criterion_of(stack).values
    torch.testing.assert_close(values, plain.criterion_of(stack).values, rtol=1e-12, atol=0)


@pytest.mark.parametrize("strategy", PROBLEMS["dropout"].strategies)
def test_dropout_is_on_in_training_drawn_from_the_global_generator_and_apart_for_each_model(
    strategy,
):
    objective = PROBLEMS["dropout"].build(strategy=strategy)
    stack = random_stack(objective, 1).expand(6, -1).clone()
    batch = next(objective.minibatches(0))
    objective.gradients(stack, batch)  # plans are measured once

    def draw(seed):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return objective.gradients(stack, batch).losses

    assert torch.equal(draw(0), draw(0))
    assert not torch.equal(draw(0), draw(1))
    assert len(set(draw(0).tolist())) == 6
    without = float(objective.criterion_of(stack[:1]).values)
    mean = torch.stack([draw(seed) for seed in range(60)]).mean()
    assert float(mean) == pytest.approx(without, rel=0.2)


def test_minibatches_go_through_all_examples_epoch_by_epoch_and_repeat_with_the_seed():
    inputs = torch.arange(50.0)[:, None]
    objective = PROBLEMS["one output"].build(
        torch.float32, train=(inputs.expand(-1, 2), inputs), training=Training(batch_size=10)
    )

    def epochs(seed):
        batches = objective.minibatches(seed)
        return [torch.cat([next(batches)[1][:, 0] for _ in range(5)]) for _ in range(2)]

    first, second = epochs(3)
    assert sorted(first.tolist()) == sorted(second.tolist()) == inputs[:, 0].tolist()
    assert not torch.equal(first, second)
    assert torch.equal(torch.stack(epochs(3)), torch.stack([first, second]))
    assert not torch.equal(epochs(4)[0], first)


def test_a_loss_without_a_gradient_is_refused_saying_why():
    def rate(output, target):
        return (output.argmax(1) != target).double().mean()

    problem = PROBLEMS["mlp"]
    objective = Objective(problem.module(), rate, train=problem.data())
    with pytest.raises(InputError, match="grad"):
        objective.gradients(random_stack(objective, 2), next(objective.minibatches(0)))


@pytest.mark.parametrize("size", [0, -3])
def test_a_batch_without_examples_is_refused(size):
    with pytest.raises(InputError):
        PROBLEMS["mlp"].build(training=Training(batch_size=size))
