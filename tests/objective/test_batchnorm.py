"""BatchNorm statistics against torch's own re-estimation on the same examples."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.optim.swa_utils import update_bn

from tests.helpers import PROBLEMS, random_stack
from thalweg import Calibration, Criterion, Objective


def build(examples=150, calibration=None, dtype=torch.float64, **options):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(examples, 3, generator=generator, dtype=dtype) * 2 + 1
    target = torch.randint(0, 3, (examples,), generator=generator)
    return PROBLEMS["batchnorm"].build(
        dtype, train=(inputs, target), calibration=calibration, **options
    )


def by_torch(objective: Objective, theta, calibration: Calibration):
    """A module at θ, its statistics from ``update_bn`` over the same batches."""
    module = PROBLEMS["batchnorm"].module()
    parameters = objective.layout.unflatten(theta)
    module.load_state_dict({**module.state_dict(), **parameters})
    split = objective.splits["train"].take(calibration.examples)
    update_bn([inputs for inputs, _ in split.chunks(calibration.batch_size)], module)
    return module.eval().requires_grad_(False)


@pytest.mark.parametrize("strategy", ["loop", "vmap"])
@pytest.mark.parametrize("calibration", [Calibration(), Calibration(100, 40), Calibration(64, 64)])
@pytest.mark.parametrize("measure", ["loss", "error_rate"])
def test_the_criterion_is_taken_with_statistics_estimated_anew(strategy, calibration, measure):
    objective = build(calibration=calibration, strategy=strategy, criterion=Criterion(measure))
    stack = random_stack(objective, 3)
    values = objective.criterion_of(stack).values[:, 0]
    split = objective.splits["train"]
    for theta, value in zip(stack, values.tolist(), strict=True):
        output = by_torch(objective, theta, calibration)(*split.inputs)
        expected = (
            functional.cross_entropy(output, split.target)
            if measure == "loss" else (output.argmax(1) != split.target).double().mean()
        )  # fmt: skip
        assert value == pytest.approx(float(expected), rel=1e-10)


def test_the_state_dict_carries_those_statistics():
    objective = build()
    theta = random_stack(objective, 1)[0]
    expected = by_torch(objective, theta, Calibration()).state_dict()
    state = objective.state_dict(theta)
    assert state.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(state[name], tensor, rtol=1e-12, atol=1e-12)


def test_estimates_repeat_and_do_not_depend_on_the_models_own_statistics():
    module = PROBLEMS["batchnorm"].module()
    module[1].running_mean += 7
    data = PROBLEMS["batchnorm"].data()
    moved = Objective(module, functional.cross_entropy, train=data)
    plain = PROBLEMS["batchnorm"].build()
    stack = random_stack(plain, 4)
    values = plain.criterion_of(stack).values
    torch.testing.assert_close(moved.criterion_of(stack).values, values, rtol=1e-13, atol=0)
    assert torch.equal(plain.criterion_of(stack).values, values)
    assert (module[1].running_mean == 7).all()


@pytest.mark.parametrize("examples", [257, 513, 2])
def test_a_last_batch_of_one_example_is_no_obstacle(examples):
    objective = build(examples)
    assert torch.isfinite(objective.criterion_of(random_stack(objective, 2)).values).all()


def test_batchnorm_without_running_statistics_is_left_as_it_is():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 3)).double()
    objective = Objective(model, functional.cross_entropy, train=PROBLEMS["batchnorm"].data())
    assert objective.criterion_of(random_stack(objective, 2)).samples == 300
