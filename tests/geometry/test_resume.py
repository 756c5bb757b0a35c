"""A surface that is interrupted and taken up again is the one that was not."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.helpers import PROBLEMS, landscape, point, random_stack
from thalweg import Criterion, InputError, Objective, surface
from thalweg.geometry import load_plane


class Interrupt(Exception):
    pass


def interrupt_after(points: int):
    def progress(done: int, total: int) -> None:
        if done >= points:
            raise Interrupt

    return progress


@pytest.fixture
def problem():
    """An objective, an origin and two directions of it."""
    objective = PROBLEMS["mlp"].build(torch.float32)
    return objective, random_stack(objective, 3)


def counted(objective, stack, file, **options):
    """The surface, and the numbers of points at which progress was told."""
    seen = []
    found = surface(
        objective, stack[0], stack[1:], 1.0, (30, 25), resume=file,
        progress=lambda done, total: seen.append(done), **options,
    )  # fmt: skip
    return found, seen


def test_taken_up_again_it_equals_the_uninterrupted_one_bit_for_bit(problem, tmp_path):
    objective, stack = problem
    file = tmp_path / "values.safetensors"
    whole = surface(objective, stack[0], stack[1:], 1.0, (30, 25))
    with pytest.raises(Interrupt):
        surface(objective, stack[0], stack[1:], 1.0, (30, 25), resume=file,
                progress=interrupt_after(300))  # fmt: skip
    found, seen = counted(objective, stack, file)
    assert seen == [750], "the 512 points that were done are not done again"
    assert torch.equal(found.values, whole.values)
    again, seen = counted(objective, stack, file)
    assert seen == []
    assert torch.equal(again.values, whole.values)
    assert again.key == found.key


@pytest.mark.parametrize(
    "other", ["weights", "directions", "split", "measure", "data", "model", "extent"]
)
def test_values_of_another_surface_are_not_used(problem, tmp_path, other):
    _, stack = problem
    inputs, target = PROBLEMS["mlp"].data(torch.float32)
    objective = PROBLEMS["mlp"].build(torch.float32, test=(inputs, target))
    file = tmp_path / "values.safetensors"
    first, _ = counted(objective, stack, file)
    options = {}
    if other == "weights":
        stack = torch.cat([stack[:1] + 1e-4, stack[1:]])
    elif other == "directions":
        stack = torch.cat([stack[:2], stack[2:] * 2])
    elif other == "split":
        options = {"split": "test"}
    elif other == "measure":
        options = {"measures": [Criterion("error_rate")]}
    elif other == "data":
        objective = PROBLEMS["mlp"].build(torch.float32, train=(inputs * 2, target))
    elif other == "model":
        model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 4), nn.ReLU(),
                              nn.Linear(4, 3))  # fmt: skip
        objective = Objective(model, nn.functional.cross_entropy, train=(inputs, target))
    if other == "extent":
        found = surface(objective, stack[0], stack[1:], 2.0, (30, 25), resume=file)
    else:
        found, seen = counted(objective, stack, file, **options)
        assert seen[-1] == 750
    assert found.key != first.key


def test_other_plans_make_it_begin_again(problem, tmp_path):
    objective, stack = problem
    file = tmp_path / "values.safetensors"
    with pytest.raises(Interrupt):
        surface(objective, stack[0], stack[1:], 1.0, (30, 25), resume=file,
                progress=interrupt_after(300))  # fmt: skip
    content = file.read_bytes()
    assert b"rest-" in content
    file.write_bytes(content.replace(b"rest-", b"wont-"))  # of the same length
    _, seen = counted(objective, stack, file)
    assert seen[0] == 0, "what was read is dropped"
    assert seen[-1] == 750


def test_a_file_of_somebody_else_is_left_alone(tmp_path):
    objective = landscape(lambda w: w[0], 1)
    mine = tmp_path / "thesis.safetensors"
    mine.write_text("mine")
    with pytest.raises(InputError, match="choose another name"):
        surface(objective, point(0.0), point(1.0), 1.0, 3, resume=mine)
    assert mine.read_text() == "mine"
    with pytest.raises(InputError, match="cannot be read"):
        load_plane(mine)
