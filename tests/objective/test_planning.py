"""Plans: chosen once, remembered, and no obstacle where they cannot be."""

from __future__ import annotations

import torch

from tests.helpers import PROBLEMS, landscape, random_stack


def plans(objective, models=6):
    stack = random_stack(objective, models)
    objective.criterion_of(stack)
    objective.gradients(stack, next(objective.minibatches(0)))
    return objective.plans


def test_another_objective_of_the_same_kind_chooses_the_same_plans(tmp_path, monkeypatch):
    monkeypatch.setenv("THALWEG_CACHE", str(tmp_path / "deep" / "cache"))
    first = plans(PROBLEMS["mlp"].build())
    assert len(first) == 2
    assert len(list((tmp_path / "deep" / "cache").iterdir())) == 1
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
