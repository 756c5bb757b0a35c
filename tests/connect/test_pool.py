"""The pool: beads leave in time, samples never trap them, and mixed targets train together."""

from __future__ import annotations

import itertools
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Generator, nn
from torch.nn import functional

from tests.helpers import Landscape, double_well, mean_output, point, toy_classifier
from thalweg import Criterion, InputError, Objective, Training
from thalweg.connect.bead import Bead
from thalweg.connect.optimizers import stack_optimizer
from thalweg.connect.pool import Pool
from thalweg.connect.schedule import Schedule


def trained(objective, starts, targets, *, patience=5000, max_steps=20_000, seed=0, factor=1.0):
    pool = Pool(
        objective, seed=seed, max_steps=max_steps, patience=patience, capacity=64, factor=factor
    )
    beads = [
        Bead(start=lambda start=start: start, target=target, owner=i)
        for i, (start, target) in enumerate(zip(starts, targets, strict=True))
    ]
    for bead in beads:
        pool.submit(bead)
    while pool.open:
        pool.run(until=len(beads))
    return beads


def first_step_at(objective, start, target, seed=0):
    """The first step after which the criterion is at its target, looked at after every step."""
    stack = start[None].clone()
    optimizer = stack_optimizer(objective.training, stack)
    optimizer.grow(1)
    batches = objective.minibatches(seed)
    for step in itertools.count(1):
        optimizer.step(stack, objective.gradients(stack, next(batches)).gradients)
        if float(objective.criterion_of(stack).values) <= target:
            return step
    raise AssertionError


def starts(objective, count):
    generator = Generator().manual_seed(3)
    return [2 * torch.randn(objective.layout.size, generator=generator) for _ in range(count)]


@pytest.mark.parametrize("batch_size", [None, 16])
def test_no_bead_is_trained_a_tenth_longer_than_it_needs(batch_size):
    objective = toy_classifier(0, training=Training(learning_rate=1e-2, batch_size=batch_size))
    # One bead at a time: then its minibatches are those of the count.
    for start, target in itertools.product(starts(objective, 2), (0.5, 0.25)):
        (bead,) = trained(objective, [start], [target])
        needed = first_step_at(objective, start, target)
        assert bead.ending == "trained"
        assert bead.value <= target
        assert needed <= bead.steps <= 1.1 * needed + 5, (needed, bead.steps)


def test_looks_are_few_beside_the_steps_they_follow():
    objective = toy_classifier(0, training=Training(learning_rate=2e-3))
    (bead,) = trained(objective, starts(objective, 1), [0.25])
    assert bead.steps > 500
    assert bead.criterion_evaluations < 40


def test_beads_of_different_targets_end_at_their_own_as_if_alone():
    objective = toy_classifier(1, training=Training(learning_rate=5e-3))
    models, targets = starts(objective, 4), [0.6, 0.5, 0.4, 0.3]
    together = trained(objective, models, targets)
    for start, target, bead in zip(models, targets, together, strict=True):
        (alone,) = trained(objective, [start], [target])
        assert bead.ending == alone.ending == "trained"
        assert bead.steps == alone.steps
        assert bead.value == pytest.approx(alone.value, rel=1e-4)


def test_one_ceiling_a_model_lets_each_leave_at_its_own():
    # So many examples that looks at a part of them pay.
    inputs, target = torch.zeros(1 << 21, 1), torch.zeros(1 << 21, 1)
    objective = Objective(nn.Linear(1, 1), functional.l1_loss, train=(inputs, target))
    stack = torch.tensor([[0.0, 1.0]] * 3)
    result = objective.criterion_of(
        stack, ceiling=torch.tensor([0.5, 2.0, 0.1]), guess=True
    )  # fmt: skip
    assert result.complete.tolist() == [False, True, False]
    assert torch.equal(result.values, torch.ones(3, 1, dtype=torch.float64))


# ----------------------------------------------------------------------------- samples


def line(sample, examples=4096, noise=0.0, **options):
    """Fit y = 2x - 1, with noise."""
    generator = Generator().manual_seed(0)
    x = torch.rand(examples, 1, generator=generator)
    y = 2 * x - 1 + noise * torch.randn(examples, 1, generator=generator)
    training = Training(learning_rate=options.pop("rate", 0.01), sample=sample)
    return Objective(nn.Linear(1, 1), functional.mse_loss, train=(x, y), training=training)


@pytest.mark.parametrize(("examples", "sample", "sizes"), [
    (10_000, None, (10_000,)), (10_000, 512, (512, 2048, 10_000)), (10_000, 6000, (10_000,)),
    (100, 512, (100,)), (4096, 16, (16, 64, 256, 1024, 4096)),
])  # fmt: skip
def test_samples_grow_to_the_whole_split(examples, sample, sizes):
    assert line(sample, examples).samples == sizes


def test_a_sample_trains_to_the_same_target_through_fewer_examples():
    start = torch.tensor([-3.0, 2.0])
    (whole,) = trained(line(None), [start], [1e-4])
    (sampled,) = trained(line(64), [start], [1e-4])
    assert sampled.ending == whole.ending == "trained"
    assert sampled.value <= 1e-4
    assert sampled.gradient_samples < 0.05 * whole.gradient_samples


def test_what_a_small_sample_cannot_reach_is_reached_by_larger_ones():
    """At a high rate the noise of four examples keeps the loss above what all of them allow."""
    objective = line(4, 1024, noise=1.0, rate=0.3)
    x, y = objective.splits["train"].inputs[0].double(), objective.splits["train"].target.double()
    design = torch.cat([x, torch.ones_like(x)], dim=1)
    least = float((y - design @ torch.linalg.lstsq(design, y).solution).square().mean())
    start = torch.tensor([-3.0, 2.0])
    target = least * 1.00002
    (bead,) = trained(objective, [start], [target], patience=400)
    assert bead.ending == "trained"
    assert bead.value <= target
    assert bead.gradient_samples > 4 * bead.steps


def test_a_bead_on_a_saddle_goes_through_all_samples_before_it_has_stalled():
    inputs = torch.zeros(256, 1, dtype=torch.float64)
    objective = Objective(
        Landscape(double_well, 1, torch.float64), mean_output, train=(inputs, inputs[:, 0]),
        training=Training(learning_rate=0.01, sample=16),
    )  # fmt: skip
    (bead,) = trained(objective, [point(0.0)], [0.5], patience=40)
    assert bead.ending == "stalled"
    # Each sample has one step to see its loss, and then its share of the patience.
    assert bead.steps == 11 + 11 + 41
    assert bead.gradient_samples == 11 * 16 + 11 * 64 + 41 * 256


def test_the_same_seed_gives_the_same_beads_from_samples():
    models, targets = [torch.tensor([-3.0, 2.0]), torch.tensor([1.0, 1.0])], [1e-4, 1e-3]
    first, second = (trained(line(64), models, targets) for _ in "ab")
    for one, other in zip(first, second, strict=True):
        assert one.theta is not None
        assert other.theta is not None
        assert torch.equal(one.theta, other.theta)
        assert one.steps == other.steps


@pytest.mark.parametrize("options", [{"sample": 0}, {"sample": 8, "batch_size": 8}])
def test_a_sample_that_makes_no_sense_is_refused(options):
    with pytest.raises(InputError, match="sample"):
        Training(**options)


# ---------------------------------------------------------------------------- schedule


def test_a_criterion_that_only_goes_up_and_down_does_not_keep_a_bead_from_stalling():
    schedule = Schedule((8,), whole=64, max_steps=10_000, patience=100)
    schedule.add([0.1], [1.0])
    ended = []
    for step in range(1, 200):
        schedule.after_step(np.array([1.0]))
        rows = schedule.to_look()
        schedule.after_look(
            rows, np.full(len(rows), 0.9 + 0.1 * (step % 2)), complete=True, examples=64
        )
        stalled, _ = schedule.endings()
        ended += [step] * len(stalled)
    assert 100 < ended[0] <= 130


def test_rows_stay_with_their_beads_when_others_leave():
    schedule = Schedule((8,), whole=8, max_steps=100, patience=50)
    schedule.add([0.1, 0.2, 0.3], [1.0, 2.0, np.nan])
    for _ in range(3):
        schedule.after_step(np.array([1.0, 2.0, 3.0]))
    schedule.keep(np.array([2, 0]))
    schedule.add([0.5], [5.0])
    assert schedule.target.tolist() == [0.3, 0.1, 0.5]
    assert schedule.steps.tolist() == [3, 3, 0]
    assert schedule.gradient_samples.tolist() == [24, 24, 0]


def test_an_error_rate_ends_training_as_well_as_a_loss():
    generator = Generator().manual_seed(0)
    x = torch.randn(600, 2, generator=generator)
    objective = Objective(
        nn.Linear(2, 2), functional.cross_entropy, train=(x, (x[:, 0] > 0).long()),
        criterion=Criterion("error_rate"), training=Training(learning_rate=5e-3),
    )  # fmt: skip
    start = torch.tensor([-1.0, 0.5, 1.0, -0.5, 0.0, 0.0])
    (bead,) = trained(objective, [start], [0.02])
    needed = first_step_at(objective, start, 0.02)
    assert bead.ending == "trained"
    assert needed <= bead.steps <= 1.1 * needed + 5


def test_a_factor_makes_the_steps_of_beads_longer():
    slow = toy_classifier(0, training=Training(learning_rate=1e-2))
    fast = toy_classifier(0, training=Training(learning_rate=4e-2))
    (start,) = starts(slow, 1)
    (longer,) = trained(slow, [start], [0.25], factor=4.0)
    (alike,) = trained(fast, [start], [0.25])
    (plain,) = trained(slow, [start], [0.25])
    assert longer.theta is not None
    assert alike.theta is not None
    assert torch.equal(longer.theta, alike.theta)
    assert longer.steps < plain.steps


@pytest.mark.parametrize("complete", [True, False])
def test_the_next_look_waits_until_steps_have_cost_as_much_as_the_last(complete):
    schedule = Schedule((10,), whole=1000, max_steps=100_000, patience=100_000)
    schedule.add([0.1], [math.nan])
    looks = []
    for step in range(1, 2001):
        if schedule.after_step(np.array([1.0])) and len(schedule.to_look()):
            looks.append(step)
            values = np.array([0.1 + 1 / step])
            # As dear as 20 steps of ten examples each.
            schedule.after_look(schedule.to_look(), values, complete=complete, examples=600)
    late = [b - a for a, b in pairwise(looks) if a >= 200]
    assert min(late) >= 20
    assert looks[-1] - looks[-2] <= 0.3 * looks[-1]  # and goes on
