"""Trajectories hold the parameters as they were, and leave the training as it is."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from thalweg import InputError, Trajectory, load_trajectory, save_path
from thalweg.geometry import lightning_callback


def trained(steps: int, every: int = 1, record: bool = True) -> tuple[nn.Linear, Trajectory, list]:
    torch.manual_seed(0)
    model = nn.Linear(2, 1)
    model.bias.requires_grad_(False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trajectory, truth = Trajectory(model, every), []
    for _ in range(steps):
        truth.append(model.weight.detach().clone().flatten())
        if record:
            trajectory()
        optimizer.zero_grad()
        model(torch.ones(1, 2)).square().sum().backward()
        optimizer.step()
    truth.append(model.weight.detach().clone().flatten())
    if record:
        trajectory.record()
    return model, trajectory, truth


def test_points_are_the_parameters_before_each_step_and_after_the_last():
    _, trajectory, truth = trained(6)
    assert trajectory.steps == (0, 1, 2, 3, 4, 5, 6)
    assert torch.equal(trajectory.points, torch.stack(truth))
    trajectory.record()
    assert len(trajectory.steps) == 7, "the same moment is not recorded twice"


def test_every_third_step_and_the_end():
    _, trajectory, truth = trained(7, every=3)
    assert trajectory.steps == (0, 3, 6, 7)
    assert torch.equal(trajectory.points, torch.stack(truth)[[0, 3, 6, 7]])


def test_recording_changes_nothing_in_the_training():
    with_, without = trained(5)[0], trained(5, record=False)[0]
    assert torch.equal(with_.weight, without.weight)


def test_long_trajectories_lie_in_a_file(monkeypatch):
    monkeypatch.setattr("thalweg.geometry.trajectory.IN_MEMORY", 3 * 8)
    _, trajectory, truth = trained(6)
    assert torch.equal(trajectory.points, torch.stack(truth))


def test_it_is_saved_and_loaded_with_its_steps(tmp_path):
    _, trajectory, truth = trained(4, every=2)
    trajectory.save(tmp_path / "t.safetensors")
    path, steps = load_trajectory(tmp_path / "t.safetensors")
    assert steps == (0, 2, 4)
    assert torch.equal(path.points, torch.stack(truth)[[0, 2, 4]])
    save_path(path, tmp_path / "plain.safetensors")
    with pytest.raises(InputError, match="with its steps"):
        load_trajectory(tmp_path / "plain.safetensors")


def test_too_little_is_refused(tmp_path):
    empty = Trajectory(nn.Linear(1, 1))
    with pytest.raises(InputError, match="got none"):
        _ = empty.points
    empty()
    with pytest.raises(InputError, match="at least two"):
        empty.save(tmp_path / "t.safetensors")
    with pytest.raises(InputError, match="every 1 or more"):
        Trajectory(nn.Linear(1, 1), every=0)


def test_lightning_is_asked_for_only_where_it_is_used(monkeypatch):
    """The class that Lightning asks for, with its hooks; Lightning itself stands aside."""
    assert "lightning" not in sys.modules
    _, trajectory, _ = trained(1)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="Lightning to be installed"):
        lightning_callback(trajectory)

    class Callback:
        pass

    stand_in = ModuleType("lightning.pytorch")
    stand_in.Callback = Callback  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lightning", ModuleType("lightning"))
    monkeypatch.setitem(sys.modules, "lightning.pytorch", stand_in)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    model = nn.Linear(2, 1)
    fresh = Trajectory(model)
    callback = lightning_callback(fresh)
    assert isinstance(callback, Callback)
    hooks: Any = callback
    for batch in range(3):
        hooks.on_train_batch_start("trainer", model, "batch", batch)
    hooks.on_train_end("trainer", model)
    assert fresh.steps == (0, 1, 2, 3)
