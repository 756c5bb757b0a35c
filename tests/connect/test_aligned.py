"""Connected up to symmetry: an outcome of its own, with both forms of the moved endpoint."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.helpers import toy_classifier
from thalweg import Budget, Outcome, connect, connect_pairs, load_connection, train, verify
from thalweg.objective import Objective
from thalweg.parameters import fingerprint
from thalweg.symmetry import permutation_group


@pytest.fixture(scope="module")
def pair() -> tuple[Objective, Tensor, Tensor]:
    objective = toy_classifier(0)
    generator = torch.Generator().manual_seed(0)
    starts = [torch.randn(objective.layout.size, generator=generator) for _ in range(2)]
    a, b = (found.theta for found in train(objective, starts, 0.18))
    return objective, a, b


def _turned(objective: Objective, theta: Tensor) -> Tensor:
    group = permutation_group(objective.model, *objective.splits["train"].inputs)
    planted = group.random(torch.Generator().manual_seed(1))
    return objective.layout.flatten(group.apply(objective.layout.unflatten(theta), planted))


def test_the_outcome_says_that_it_is_up_to_symmetry_and_the_record_keeps_both(pair, tmp_path):
    objective, a, b = pair
    found = connect(objective, a, b, threshold=0.2, align=True, certificate="sampled")
    assert found.outcome is Outcome.CONNECTED_UP_TO_SYMMETRY
    assert found.connected
    first, last = found.endpoints
    assert first.given_sha256 is None
    assert last.given_sha256 == fingerprint(b)
    assert last.sha256 == fingerprint(found.path.points[-1]) != last.given_sha256
    assert found.settings["align"]["after"] < found.settings["align"]["before"]
    assert found.endpoint_distance == pytest.approx(found.settings["align"]["after"], rel=1e-6)
    found.save(tmp_path / "c")
    loaded = load_connection(tmp_path / "c")
    assert loaded.endpoints == found.endpoints
    assert loaded.outcome is found.outcome
    assert verify(loaded, objective).passed


def test_a_model_and_its_permuted_self_are_one_up_to_symmetry(pair):
    objective, a, _ = pair
    found = connect(objective, a, _turned(objective, a), threshold=0.2, align=True)
    assert found.outcome is Outcome.CONNECTED_UP_TO_SYMMETRY
    assert found.length == 0


def test_endpoints_that_alignment_leaves_alone_are_plainly_connected(pair):
    objective, a, _ = pair
    near = a + 1e-3
    found = connect(objective, a, near, threshold=0.25, align=True, certificate="sampled")
    assert found.outcome is Outcome.CONNECTED
    assert found.endpoints[1].given_sha256 is None
    assert found.settings["align"]["moved"] is False


def test_each_pair_is_aligned_by_itself(pair):
    objective, a, b = pair
    pairs = [(a, b), (a, _turned(objective, a))]
    found = connect_pairs(
        objective, pairs, threshold=0.2, align="activations", certificate="sampled",
        budget=Budget(beads=20),
    )  # fmt: skip
    assert [c.settings["align"]["method"] for c in found] == ["activations"] * 2
    assert found[1].length == pytest.approx(0, abs=1e-6)


def test_a_search_that_fails_keeps_its_outcome(pair):
    objective, a, b = pair
    found = connect(
        objective, a, b, threshold=0.181, align=True, certificate="sampled", budget=Budget(beads=0)
    )
    assert found.outcome is Outcome.BUDGET_EXHAUSTED
    assert found.settings["align"]["moved"]
    assert found.endpoints[1].given_sha256 == fingerprint(b)
