"""A strategy that does not agree with the loop is not used, and one that draws random numbers is
not spread over threads."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.helpers import PROBLEMS, random_stack
from thalweg import InputError, Objective
from thalweg.objective.strategies import STRATEGIES, Dense
from thalweg.objective.tails import closed_form, through_autograd


class Wrong(Dense):
    """Off by a hundredth of a percent."""

    def values(self, work, stack, buffers, inputs, target):
        return super().values(work, stack, buffers, inputs, target) * 1.0001

    def gradients(self, work, stack, inputs, target):
        gradients, values = super().gradients(work, stack, inputs, target)
        return gradients * 1.0001, values


def test_a_strategy_that_differs_is_dropped_with_a_warning(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("THALWEG_CACHE", str(tmp_path))
    monkeypatch.setitem(STRATEGIES, "dense", Wrong())
    objective = PROBLEMS["mlp"].build()
    stack = random_stack(objective, 8)
    with caplog.at_level(logging.WARNING, "thalweg"):
        objective.criterion_of(stack)
        objective.gradients(stack, next(objective.minibatches(0)))
    assert "dense" not in {plan["strategy"] for plan in objective.plans.values()}
    assert len([r for r in caplog.records if "differs from the loop" in r.message]) == 2


def test_a_remembered_plan_of_other_strategies_is_measured_again(tmp_path, monkeypatch):
    monkeypatch.setenv("THALWEG_CACHE", str(tmp_path))
    stack = random_stack(PROBLEMS["mlp"].build(), 4)
    PROBLEMS["mlp"].build().criterion_of(stack)
    before = (tmp_path / "plans.json").read_text()
    monkeypatch.setitem(STRATEGIES, "another", Dense())
    PROBLEMS["mlp"].build().criterion_of(stack)
    after = (tmp_path / "plans.json").read_text()
    assert after.count('"strategy"') == 2 * before.count('"strategy"')


def test_dropout_is_not_spread_over_threads():
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        objective = PROBLEMS["dropout"].build(strategy="threads")
        stack = random_stack(objective, 4)
        expected = PROBLEMS["dropout"].build(strategy="loop").criterion_of(stack).values
        torch.testing.assert_close(objective.criterion_of(stack).values, expected)
        with pytest.raises(InputError, match="random numbers"):
            objective.gradients(stack, next(objective.minibatches(0)))
    finally:
        torch.set_num_threads(threads)


def test_threads_leave_the_number_of_threads_as_it_was_and_the_model_alone():
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        objective = PROBLEMS["cnn"].build(strategy="threads")
        stack = random_stack(objective, 5)
        plain = PROBLEMS["cnn"].build(strategy="loop")
        weights = [p.clone() for p in objective.model.parameters()]
        torch.testing.assert_close(
            objective.criterion_of(stack).values, plain.criterion_of(stack).values
        )
        batch = next(plain.minibatches(0))
        got, expected = objective.gradients(stack, batch), plain.gradients(stack, batch)
        torch.testing.assert_close(got.gradients, expected.gradients)
        assert torch.get_num_threads() == 2
        for before, now in zip(weights, objective.model.parameters(), strict=True):
            assert torch.equal(before, now)
    finally:
        torch.set_num_threads(threads)


CASES = [
    (functional.l1_loss, "numbers"), (nn.L1Loss(), "numbers"), (functional.mse_loss, "numbers"),
    (nn.MSELoss(), "numbers"), (functional.cross_entropy, "classes"),
    (nn.CrossEntropyLoss(), "classes"),
]  # fmt: skip


@pytest.mark.parametrize(("loss", "kind"), CASES)
def test_closed_forms_are_what_autograd_gives(loss, kind):
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(4, 3, 50, generator=generator, dtype=torch.float64)
    target = {
        "numbers": torch.randn(50, 3, generator=generator, dtype=torch.float64),
        "classes": torch.randint(0, 3, (50,), generator=generator),
    }[kind]
    tail = closed_form(loss, target)
    assert tail is not None
    expected = through_autograd(lambda o, t: loss(o, t).reshape(1))(outputs.clone(), target)
    for got, want in zip(tail(outputs, target), expected, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("loss", [
    functional.smooth_l1_loss, nn.L1Loss(reduction="sum"), nn.MSELoss(reduction="none"),
    nn.CrossEntropyLoss(label_smoothing=0.1), nn.CrossEntropyLoss(torch.ones(3)),
    functional.cross_entropy,
])  # fmt: skip
def test_other_losses_and_targets_have_no_closed_form(loss):
    assert closed_form(loss, torch.zeros(5, 3)) is None or loss is not functional.cross_entropy
    if not isinstance(loss, nn.L1Loss | nn.MSELoss):
        assert closed_form(loss, torch.zeros(5, 2, dtype=torch.long)) is None


def test_a_frozen_bias_does_not_hinder_a_chain():
    model = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 1))
    model[0].register_parameter("bias", nn.Parameter(torch.ones(2), requires_grad=False))
    x, y = torch.randn(20, 3), torch.randn(20, 1)
    objective = Objective(model, functional.mse_loss, train=(x, y))
    stack = random_stack(objective, 8)
    loop = Objective(model, functional.mse_loss, train=(x, y), strategy="loop")
    batch = next(objective.minibatches(0))
    torch.testing.assert_close(
        objective.gradients(stack, batch).gradients, loop.gradients(stack, batch).gradients
    )
