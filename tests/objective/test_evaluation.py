"""Criteria of stacks against one plain pass in float64."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.helpers import PROBLEMS, Problem, brute_force, random_stack
from thalweg import Criterion, InputError, Objective
from thalweg.objective.strategies import STRATEGIES

STATELESS = [problem for problem in PROBLEMS.values() if problem.name != "batchnorm"]
CASES = [
    (problem, strategy)
    for problem in STATELESS
    for strategy in STRATEGIES
    if strategy in problem.strategies
]


def absolute(output, target):
    return (output.mean(1) - target.reshape(len(target), -1)[:, 0]).abs()


def names(case):
    return case.name if isinstance(case, Problem) else str(case)


def measures(problem):
    yield from ("loss", "perplexity")
    if problem.classes:
        yield "error_rate"
    if problem.name in ("mlp", "one output"):
        yield absolute


@pytest.mark.parametrize(("problem", "strategy"), CASES, ids=names)
@pytest.mark.parametrize("models", [1, 5])
def test_every_strategy_gives_the_mean_over_all_examples(problem, strategy, models):
    for measure in measures(problem):
        criterion = Criterion(measure)
        objective = problem.build(criterion=criterion, strategy=strategy)
        stack = random_stack(objective, models)
        result = objective.criterion_of(stack)
        expected = [brute_force(objective, theta, criterion) for theta in stack]
        assert result.values.dtype == torch.float64
        assert result.values[:, 0].tolist() == pytest.approx(expected, rel=1e-12)
        assert result.complete.all()
        assert (result.evaluations, result.samples) == (models, models * problem.examples)


@pytest.mark.parametrize("problem", STATELESS, ids=names)
def test_the_strategy_that_measures_fastest_gives_the_same(problem):
    objective = problem.build(torch.float32, criterion=Criterion("perplexity"))
    stack = random_stack(objective, 7)
    expected = [brute_force(objective, theta, objective.criterion) for theta in stack]
    assert objective.criterion_of(stack).values[:, 0].tolist() == pytest.approx(expected, rel=1e-5)


def test_several_measures_in_one_pass_equal_each_alone():
    objective = PROBLEMS["mlp"].build()
    stack = random_stack(objective, 3)
    together = (Criterion("loss"), Criterion("error_rate"), Criterion("perplexity"))
    values = objective.evaluate(stack, "train", together).values
    for i, measure in enumerate(together):
        alone = objective.evaluate(stack, "train", (measure,)).values[:, 0]
        torch.testing.assert_close(values[:, i], alone, rtol=1e-13, atol=0)


def test_a_loss_of_one_value_an_example_means_the_same_as_its_mean():
    problem = PROBLEMS["mlp"]
    mean = problem.build()
    each = Objective(problem.module(), nn.CrossEntropyLoss(reduction="none"), train=problem.data())
    stack = random_stack(mean, 3)
    torch.testing.assert_close(
        each.criterion_of(stack).values, mean.criterion_of(stack).values, rtol=1e-13, atol=0
    )


def test_the_criterion_is_taken_on_its_own_split():
    problem = PROBLEMS["mlp"]
    inputs, target = problem.data()
    both = problem.build(test=(inputs[:20], target[:20]), criterion=Criterion(split="test"))
    only = problem.build(train=(inputs[:20], target[:20]))
    stack = random_stack(both, 2)
    values = both.criterion_of(stack).values
    torch.testing.assert_close(values, only.criterion_of(stack).values, rtol=1e-13, atol=0)


def test_dropout_is_off_when_a_criterion_is_evaluated_even_if_the_model_trains():
    problem = PROBLEMS["dropout"]
    module = problem.module().train()
    objective = Objective(module, problem.loss, train=problem.data())
    stack = random_stack(objective, 3)
    expected = [brute_force(objective, theta, objective.criterion) for theta in stack]
    assert objective.criterion_of(stack).values[:, 0].tolist() == pytest.approx(expected, rel=1e-12)
    assert module.training


def test_a_network_whose_output_is_not_finite_has_a_value_that_is_not_finite():
    objective = PROBLEMS["mlp"].build()
    stack = random_stack(objective, 3)
    stack[1, -1] = math.nan
    for ceiling in (None, 10.0):
        values = objective.criterion_of(stack, ceiling=ceiling).values[:, 0]
        assert torch.isfinite(values).tolist() == [True, False, True]


# ------------------------------------------------------------------------- ceilings


@pytest.mark.parametrize("measure", ["loss", "error_rate", "perplexity"])
@pytest.mark.parametrize("guess", [False, True])
@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_below_a_ceiling_values_are_exact_and_above_it_a_model_may_leave(measure, guess, name):
    objective = PROBLEMS[name].build(
        train=copies(PROBLEMS[name].data(), 60), criterion=Criterion(measure)
    )
    stack = torch.cat([s * random_stack(objective, 4, seed=i) for i, s in enumerate((0.1, 1, 9))])
    exact = objective.criterion_of(stack)
    left = 0
    for ceiling in exact.values[:, 0].quantile(torch.tensor([0.0, 0.4]).double()).tolist():
        result = objective.criterion_of(stack, ceiling=ceiling, guess=guess)
        whole = result.complete
        torch.testing.assert_close(result.values[whole], exact.values[whole], rtol=1e-13, atol=0)
        assert (result.values[~whole] > ceiling).all()
        if not guess:
            assert (exact.values[~whole, 0] > ceiling).all()
            assert whole[exact.values[:, 0] <= ceiling].all()
        assert result.samples <= exact.samples
        left += int((~whole).sum())
    assert left > 0


def copies(data, times):
    return torch.cat([data[0]] * times), torch.cat([data[1]] * times)


def test_a_guess_about_models_far_above_is_cheap():
    objective = PROBLEMS["mlp"].build(train=copies(PROBLEMS["mlp"].data(), 120))
    stack = 30 * random_stack(objective, 4)
    result = objective.criterion_of(stack, ceiling=0.01, guess=True)
    assert not result.complete.any()
    assert result.samples < 4 * 150 * 120


def test_a_loss_that_can_be_negative_is_never_given_up_before_the_end():
    problem = PROBLEMS["mlp"]
    objective = Objective(
        problem.module(), lambda output, target: functional.cross_entropy(output, target) - 1,
        train=copies(problem.data(), 12),
    )  # fmt: skip
    assert objective.criterion_of(random_stack(objective, 3), ceiling=-5.0).complete.all()


@pytest.mark.parametrize("wrong", [29, 57, 58, 115])
def test_an_error_rate_exactly_at_the_ceiling_is_complete(wrong):
    """0.29 · 100 = 28.999999999999996: a sum of 29 errors is not above a rate of 29/100."""
    inputs = torch.zeros(200, 1)
    inputs[:wrong] = 1
    for seed in range(20):
        objective = Objective(
            nn.Linear(1, 1), functional.binary_cross_entropy_with_logits,
            train=(inputs, torch.zeros(200, 1)), criterion=Criterion("error_rate"), seed=seed,
        )  # fmt: skip
        result = objective.criterion_of(torch.tensor([[2.0, -1.0]]), ceiling=wrong / 200)
        assert result.values.item() == wrong / 200
        assert result.complete.all()


# --------------------------------------------------------------- what is left alone


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_callers_module_and_random_state_are_bitwise_unchanged(name):
    problem = PROBLEMS[name]
    module = problem.module(torch.float32).train()
    for parameter in module.parameters():
        parameter.grad = torch.full_like(parameter, 0.5)
    before = copy.deepcopy(module)
    rng = torch.get_rng_state()
    objective = Objective(module, problem.loss, train=problem.data(torch.float32))
    stack = random_stack(objective, 3)
    objective.criterion_of(stack)
    objective.double().criterion_of(stack.double())
    objective.state_dict(stack[0])
    assert torch.equal(torch.get_rng_state(), rng)
    objective.gradients(stack, next(objective.minibatches(0)))
    pairs = zip(module.state_dict().items(), before.state_dict().items(), strict=True)
    assert all(n == m and torch.equal(a, b) for (n, a), (m, b) in pairs)
    assert all((p.grad == 0.5).all() and p.requires_grad for p in module.parameters())
    assert [m.training for m in module.modules()] == [m.training for m in before.modules()]


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_state_dict_at_a_point_is_that_point_and_loads(name):
    problem = PROBLEMS[name]
    objective = problem.build()
    theta = random_stack(objective, 1)[0]
    state = objective.state_dict(theta)
    assert torch.equal(objective.theta(state), theta)
    module = problem.module()
    module.load_state_dict(state)
    assert torch.equal(objective.theta(module), theta)


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_twin_in_double_agrees_to_single_precision(name):
    objective = PROBLEMS[name].build(torch.float32)
    stack = random_stack(objective, 2)
    values = objective.double().criterion_of(stack.double()).values
    torch.testing.assert_close(objective.criterion_of(stack).values, values, rtol=1e-4, atol=1e-5)
    assert objective.double().double() is objective.double()


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(InputError, match="'accuracy'"):
        Criterion("accuracy")
    with pytest.raises(InputError):
        PROBLEMS["mlp"].build(strategy="magic").criterion_of(torch.zeros(2, 83).double())
    with pytest.raises(InputError, match="split 'test' that the criterion names"):
        PROBLEMS["mlp"].build(criterion=Criterion(split="test"))
