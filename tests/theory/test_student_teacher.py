import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.theory import student_teacher
from thalweg.theory.descent import LEVEL, TOLERANCE, descend, step_size
from thalweg.theory.safran2018 import initial_students

SHAPES = st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(0, 10**6))


def draw(n: int, k: int, seed: int, runs: int = 1) -> torch.Tensor:
    return initial_students(runs, n, k, seed=seed, scale=math.sqrt(k))


@settings(max_examples=20)
@given(st.integers(1, 6), st.integers(0, 10**6))
def test_value_is_the_integral_over_the_plane(n, seed):
    students = draw(n, 2, seed)
    # In polar coordinates the radius integrates to 2: F = (1/2π) ∫ (student − teacher)² dφ.
    angle = (np.arange(200_000) + 0.5) * (2 * np.pi / 200_000)
    inputs = np.stack([np.cos(angle), np.sin(angle)])
    error = np.maximum(students[0].numpy() @ inputs, 0).sum(0) - np.maximum(inputs, 0).sum(0)
    assert student_teacher.objective(students).item() == pytest.approx(
        (error**2).mean(), rel=1e-8, abs=1e-10
    )


@settings(max_examples=25)
@given(SHAPES)
def test_gradient_and_hessian_are_those_of_differences(shape):
    n, k, seed = shape
    students = draw(n, k, seed)
    steps = 1e-5 * torch.eye(n * k, dtype=torch.float64).view(n * k, n, k)
    ahead, behind = students + steps, students - steps
    slope = (student_teacher.objective(ahead) - student_teacher.objective(behind)) / 2e-5
    assert torch.allclose(slope, student_teacher.gradient(students).flatten(), atol=1e-8)
    bend = (student_teacher.gradient(ahead) - student_teacher.gradient(behind)).flatten(1) / 2e-5
    hessian = student_teacher.hessian(students)[0]
    assert torch.allclose(bend, hessian, atol=1e-6)
    assert torch.allclose(hessian, hessian.T, atol=1e-14)


@settings(max_examples=40)
@given(SHAPES, st.floats(1e-3, 0.3))
def test_hessians_within_a_ball_differ_by_no_more_than_the_constant_allows(shape, radius):
    n, k, seed = shape
    centre = draw(n, k, seed)
    constant = student_teacher.hessian_lipschitz(centre, torch.tensor([radius]))
    ends = draw(n, k, seed + 1, 20) - draw(n, k, seed + 2, 20)
    within = centre + radius * ends / ends.flatten(1).norm(dim=1)[:, None, None]
    nearby = within + 1e-4 * radius * (centre - within)
    for one, other in ((within, centre), (within, nearby)):
        change = student_teacher.hessian(one) - student_teacher.hessian(other)
        size = torch.linalg.matrix_norm(change, 2)
        distance = (one - other).flatten(1).norm(dim=1)
        assert (size <= constant * distance + 1e-11).all()


def test_the_constant_is_infinite_where_a_student_can_vanish():
    students = torch.eye(3, dtype=torch.float64)[None]
    assert student_teacher.hessian_lipschitz(students, torch.tensor([1.0])).isinf().all()


@settings(max_examples=20)
@given(st.integers(1, 5), st.integers(0, 3), st.integers(0, 10**6))
def test_the_order_of_units_and_of_inputs_does_not_matter(k, more, seed):
    students = draw(k + more, k, seed)
    generator = torch.Generator().manual_seed(seed)
    moved = students[:, torch.randperm(k + more, generator=generator)]
    moved = moved[:, :, torch.randperm(k, generator=generator)]
    assert torch.allclose(
        student_teacher.objective(moved), student_teacher.objective(students), rtol=1e-12
    )


def test_a_global_minimum_has_no_value_and_no_slope():
    permuted = torch.eye(5, dtype=torch.float64)[torch.tensor([3, 0, 4, 1, 2])][None]
    assert student_teacher.objective(permuted).abs().item() < 1e-14
    assert student_teacher.gradient(permuted).abs().max() < 1e-14
    assert torch.linalg.eigvalsh(student_teacher.hessian(permuted))[0, 0] > 0.05


def test_newtons_end_is_that_of_plain_descent():
    start = initial_students(24, 8, 8, seed=3)
    ends = descend(start)
    spurious = ends.converged & ~ends.below
    assert spurious.sum() >= 2, "this seed shows both kinds of ends"
    assert ends.same_basin[spurious].all()
    plain = start.clone()
    for _ in range(12_000):
        plain -= step_size(8) * student_teacher.gradient(plain)
    assert (student_teacher.gradient(plain).flatten(1).norm(dim=1) < TOLERANCE).all()
    assert torch.equal(student_teacher.objective(plain) >= LEVEL, spurious)
    apart = (plain - ends.students)[spurious].flatten(1).norm(dim=1)
    assert (apart < 10 * TOLERANCE / ends.least_eigenvalues[spurious]).all()


def test_ends_do_not_depend_on_which_runs_descend_together():
    start = initial_students(6, 4, 4, seed=0)
    together = descend(start)
    for i in range(6):
        alone = descend(start[i : i + 1])
        assert alone.steps[0] == together.steps[i]
        assert torch.allclose(alone.students[0], together.students[i], atol=1e-9)


def test_runs_that_are_not_finished_are_not_called_converged():
    ends = descend(initial_students(5, 8, 8, seed=0), max_steps=50)
    assert not ends.converged.any()
    assert ends.least_eigenvalues.isfinite().all()
