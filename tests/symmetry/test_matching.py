"""Planted permutations are found, and the assignment is the best one where brute force can say."""

from __future__ import annotations

from itertools import pairwise, permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.symmetry.networks import NETWORKS, tensors
from thalweg.objective import Split
from thalweg.symmetry import match_weights, permutation_group
from thalweg.symmetry.activations import agreement, match_activations
from thalweg.symmetry.matching import assign, overlap


def _parameters(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: t.detach().clone() for name, t in model.named_parameters()}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_planted_permutation_is_undone_exactly(name):
    network = NETWORKS[name]
    model = network.model()
    group, own = permutation_group(model, network.data(2)), _parameters(model)
    for seed in range(3):
        planted = group.random(torch.Generator().manual_seed(seed))
        moved = group.apply(own, planted)
        found = match_weights(group, own, moved, seed=seed).permutations
        back = group.apply(moved, found)
        assert all(torch.equal(back[n], own[n]) for n in own)
        for family in group.families:
            assert torch.equal(planted[family.name][found[family.name]], torch.arange(family.size))


@settings(max_examples=25)
@given(widths=st.lists(st.integers(2, 9), min_size=1, max_size=4), seed=st.integers(0, 1000))
def test_a_permutation_planted_in_a_random_mlp_is_undone_exactly(widths, seed):
    generator = torch.Generator().manual_seed(seed)
    sizes = [2, *widths, 2]
    layers = [[nn.Linear(a, b), nn.ReLU()] for a, b in pairwise(sizes)]
    model = nn.Sequential(*(layer for pair in layers for layer in pair))
    for parameter in model.parameters():
        parameter.data.normal_(generator=generator)
    group, own = permutation_group(model, torch.randn(2, 2)), _parameters(model)
    moved = group.apply(own, group.random(generator))
    back = group.apply(moved, match_weights(group, own, moved, seed=seed).permutations)
    assert all(torch.equal(back[n], own[n]) for n in own)


def test_one_family_gets_the_best_of_all_permutations():
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2))
    group = permutation_group(model, torch.randn(2, 3))
    a, b = (
        {n: torch.randn(p.shape, generator=generator) for n, p in model.named_parameters()}
        for _ in range(2)
    )
    best = max(overlap(a, group.apply(b, {"0": torch.tensor(p)})) for p in permutations(range(5)))
    assert match_weights(group, a, b).overlap == pytest.approx(best, rel=1e-6)


@pytest.mark.parametrize("name", NETWORKS)
def test_matching_never_moves_a_network_away_and_repeats_itself(name):
    network = NETWORKS[name]
    model = network.model()
    group, a = permutation_group(model, network.data(2)), _parameters(model)
    generator = torch.Generator().manual_seed(3)
    b = {n: torch.randn(t.shape, generator=generator, dtype=t.dtype) for n, t in a.items()}
    found = match_weights(group, a, b, seed=5, restarts=1)
    assert found.overlap >= overlap(a, b) - 1e-12
    assert found.overlap == pytest.approx(overlap(a, group.apply(b, found.permutations)))
    again = match_weights(group, a, b, seed=5, restarts=1)
    assert all(torch.equal(found.permutations[n], p) for n, p in again.permutations.items())


@pytest.mark.parametrize("name", ["mlp", "flattened", "residual", "joined", "layer scale"])
def test_activations_find_a_planted_permutation(name):
    network = NETWORKS[name]
    model, inputs = network.model(), network.data(300)
    own = tensors(model)
    group = permutation_group(model, inputs)
    planted = group.random(torch.Generator().manual_seed(1))
    moved = group.apply(own, planted)
    data = Split("train", (inputs,), torch.zeros(len(inputs)))
    found = match_activations(group, model, own, moved, data)
    assert set(found) == {family.name for family in group.families}
    itself = agreement(group, model, own, own, data)
    for family, permutation in found.items():
        alive = itself[family].diagonal() > 0  # dead units are all alike
        assert alive.any()
        undone = planted[family][permutation]
        assert torch.equal(undone[alive], torch.arange(len(undone))[alive])


def test_the_assignment_is_the_largest_sum():
    gain = torch.tensor([[1.0, 5.0, 2.0], [4.0, 6.0, 1.0], [1.0, 1.0, 0.0]])
    assert assign(gain).tolist() == [1, 0, 2]
