"""Every method on real data at its own default settings: minutes, hence marked slow."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

from thalweg import Budget, connect, train, verify
from thalweg.tasks import get_task

SEARCHING = ["greedy", "constrained", "breadth-first", "autoneb", "bezier", "polygonal"]
EXAMPLES = Path(__file__).parents[2] / "examples"


def example(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def check(objective, ends, threshold, method, certificate):
    connection = connect(objective, *ends, threshold=threshold, method=method,
                         budget=Budget(seconds=600))  # fmt: skip
    assert connection.connected, connection.message
    assert connection.certificate == certificate
    assert verify(connection, objective).passed


@pytest.mark.slow
@pytest.mark.parametrize("method", SEARCHING)
def test_digits(method):
    task = get_task("digits")
    objective = task.build(None)
    starts = [objective.theta(task.initialize(torch.Generator().manual_seed(s))) for s in (0, 1)]
    ends = [model.theta for model in train(objective, starts, 0.095)]
    check(objective, ends, 0.1, method, "proved")


@pytest.mark.slow
@pytest.mark.parametrize("method", SEARCHING)
def test_a_convolutional_network_with_batchnorm(method):
    """Its statistics are estimated anew along the path, for which no proof has a rule."""
    own = example("own_model")
    ends = [own.trained(seed=0), own.trained(seed=1)]
    check(own.problem(), ends, 0.05, method, "sampled")


@pytest.mark.slow
@pytest.mark.parametrize("method", SEARCHING)
def test_networks_on_mnist(method, data_dir, monkeypatch):
    monkeypatch.setenv("THALWEG_DATA", str(data_dir))
    pairs = example("mnist_pairs")
    objective = pairs.wide()
    starts = [objective.theta(pairs.initial(64, seed)) for seed in (0, 1)]
    ends = [model.theta for model in train(objective, starts, pairs.TARGET)]
    check(objective, ends, 0.05, method, "proved")
