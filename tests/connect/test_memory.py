"""A search keeps to its memory limit, and finds, saves and checks the same path all the same."""

from __future__ import annotations

import pytest
import torch

from benchmarks.turning import turning
from thalweg import Budget, Greedy, InputError, Layout, connect, load_connection, train, verify
from thalweg.certify import certifier
from thalweg.connect.driver import Search, run
from thalweg.connect.memory import allot


def layout(size: int) -> Layout:
    return Layout(("w",), ((size,),), torch.float32)


@pytest.mark.parametrize("size", [1, 1000, 3_000_000])
@pytest.mark.parametrize("models", [1, 7])
def test_the_shares_together_stay_within_the_limit(size, models):
    limit = 3 * models * 10 * 4 * size  # ten tensors of four bytes a model, in a third of it
    shares = allot(limit, layout(size))
    assert shares.models == models
    # Stacks exist a few times over while they are made and evaluated.
    assert shares.models * 10 * 4 * size + shares.parked + 8 * shares.stack <= limit


def test_a_limit_too_small_for_one_model_is_a_sentence():
    least = 3 * 10 * 4 * 1000
    assert allot(least, layout(1000)).models == 1
    with pytest.raises(InputError, match=r"at least 120,000 bytes to train one .* got 119,999"):
        allot(least - 1, layout(1000))
    problem = turning(4, 4, 4, examples=4, seed=0)
    for call in (
        lambda budget: connect(problem.objective, *problem.pair(), threshold=0.1, budget=budget),
        lambda budget: train(problem.objective, [problem.at(0)], 0.1, budget=budget),
    ):
        with pytest.raises(InputError, match="memory limit of at least"):
            call(Budget(memory_limit=100))


def test_without_a_limit_one_model_may_take_what_it_needs():
    assert allot(None, layout(3_000_000)).models == 5
    assert allot(None, layout(3_000_000_000)).models == 1


def test_a_search_holds_no_more_than_its_shares():
    """100 beads of 8,192 parameters, 3.3 MB, found within 1 MB, the least for one model."""
    problem = turning(64, 64, 64, examples=4, seed=0)
    objective, (a, b) = problem.objective, problem.pair()
    size = 4 * objective.layout.size
    limit = 30 * size
    search = Search(
        objective, [(a, b, 0.0, 0.0)], [problem.threshold(100)], certifier=certifier("sampled"),
        budget=Budget(memory_limit=limit), seed=0,
    )  # fmt: skip
    in_flight: list[int] = []
    step = search.pool._step

    def watched() -> object:
        in_flight.append(len(search.pool._stack))
        return step()

    search.pool._step = watched  # pyright: ignore[reportAttributeAccessIssue]
    run(Greedy(), search)
    (string,) = search.strings
    assert str(string.outcome) == "connected"
    assert len(search.store) >= 80
    assert max(in_flight) == 1
    assert size <= search.store.held <= limit // 8
    assert search.store.parked >= 70


def test_a_path_longer_than_memory_is_saved_loaded_and_verified(tmp_path, monkeypatch):
    monkeypatch.setattr("thalweg.paths.storage.IN_MEMORY", 1 << 16)
    monkeypatch.setattr("thalweg.paths.storage._BLOCK", 1 << 16)
    problem = turning(32, 32, 32, examples=4, seed=0)
    objective = problem.objective
    options = {"threshold": problem.threshold(30), "certificate": "sampled"}
    budget = Budget(memory_limit=100 * 4 * objective.layout.size)
    connection = connect(objective, *problem.pair(), budget=budget, **options)
    assert connection.connected
    assert 4 * connection.path.points.numel() > 1 << 16
    connection.save(tmp_path / "c")
    back = load_connection(tmp_path / "c")
    assert torch.equal(back.path.points, connection.path.points)
    assert back.length == connection.length
    assert verify(back, objective, points=3).passed
