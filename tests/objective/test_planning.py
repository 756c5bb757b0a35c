"""Plans: chosen once, remembered, and no obstacle where they cannot be."""

from __future__ import annotations

import torch

from tests.helpers import PROBLEMS, landscape, random_stack
from thalweg.objective.planning import Plan, Planner


def plans(objective, models=6):
    stack = random_stack(objective, models)
    objective.criterion_of(stack)
    objective.gradients(stack, next(objective.minibatches(0)))
    return objective.plans


def test_another_objective_of_the_same_kind_chooses_the_same_plans(tmp_path, monkeypatch):
    monkeypatch.setenv("THALWEG_CACHE", str(tmp_path / "deep" / "cache"))
    first = plans(PROBLEMS["mlp"].build())
    assert len(first) == 2
    assert len(list((tmp_path / "deep" / "cache").glob("*.json"))) == 1
    assert all(plans(PROBLEMS["mlp"].build()) == first for _ in range(3))


def test_a_cache_that_cannot_be_written_or_read_is_harmless(tmp_path, monkeypatch):
    expected = PROBLEMS["mlp"].build().criterion_of(torch.zeros(2, 83).double()).values
    file = tmp_path / "file"
    file.write_text("in the way")
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "plans.json").write_text('{"half')
    other = tmp_path / "other"
    other.mkdir()
    (other / "plans.json").write_text('{"key": {"of": "another version"}}')
    for folder in (file / "cache", broken, other):
        monkeypatch.setenv("THALWEG_CACHE", str(folder))
        values = PROBLEMS["mlp"].build().criterion_of(torch.zeros(2, 83).double()).values
        torch.testing.assert_close(values, expected, rtol=1e-12, atol=0)


def test_a_plan_remembered_for_a_model_that_looks_alike_does_not_break_this_one(
    tmp_path, monkeypatch
):
    """Two modules print alike, and only one of them can be mapped over a stack."""
    monkeypatch.setenv("THALWEG_CACHE", str(tmp_path))

    def mapped(w):
        return w[0] ** 2

    def branching(w):
        return w[0] ** 2 if w[0].item() > 0 else -w[0]

    stack = torch.linspace(-1, 1, 8).double()[:, None]
    easy = landscape(mapped)
    assert plans(easy, 8)
    torch.testing.assert_close(easy.criterion_of(stack).values, stack**2)
    hard = landscape(branching)
    expected = torch.where(stack > 0, stack**2, -stack)
    torch.testing.assert_close(hard.criterion_of(stack).values, expected)
    hard.gradients(stack, next(hard.minibatches(0)))


def test_of_two_that_measure_at_once_the_first_to_write_decides_for_both(tmp_path, monkeypatch):
    monkeypatch.setenv("THALWEG_CACHE", str(tmp_path))
    mine, theirs = Plan("loop", 1, 8), Plan("vmap", 4, 8)

    def measured_while_another_process_writes(plan):
        Planner("x").choose("key", [theirs], lambda plan: 1, lambda plan: True)
        return 1

    chosen = Planner("x").choose(
        "key", [mine], measured_while_another_process_writes, lambda plan: True
    )
    assert chosen == theirs
    assert Planner("x").choose("key", [mine], lambda plan: 1, lambda plan: True) == theirs


def test_a_plan_that_does_not_hold_any_more_is_replaced(tmp_path, monkeypatch):
    monkeypatch.setenv("THALWEG_CACHE", str(tmp_path))
    old, new = Plan("vmap", 4, 8), Plan("loop", 1, 8)
    Planner("x").choose("key", [old], lambda plan: 1, lambda plan: True)
    for _ in range(2):
        chosen = Planner("x").choose("key", [new], lambda plan: 1, lambda plan: plan == new)
        assert chosen == new
