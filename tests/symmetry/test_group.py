"""Permutations read off the graph leave the function as it is, and are all that there are."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.symmetry.networks import NETWORKS, output, tensors
from thalweg import InputError
from thalweg.symmetry import permutation_group

DTYPES = [(torch.float32, 1e-5), (torch.float64, 1e-12)]


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("dtype", "tolerance"), DTYPES)
def test_a_permuted_network_computes_the_same(name, dtype, tolerance):
    network = NETWORKS[name]
    model, inputs = network.model(dtype), network.data(7, dtype)
    own = tensors(model)
    group = permutation_group(model, inputs)
    moved = own
    for seed in range(3):
        moved = group.apply(own, group.random(torch.Generator().manual_seed(seed)))
        change = (output(model, moved, inputs) - output(model, own, inputs)).abs().max()
        assert change <= tolerance
        assert all(tensor.is_contiguous() for tensor in moved.values())
    assert any(not torch.equal(moved[key], own[key]) for key in own)


@pytest.mark.parametrize("name", NETWORKS)
def test_families_have_the_known_sizes(name):
    network = NETWORKS[name]
    group = permutation_group(network.model(), network.data(2))
    assert sorted(family.size for family in group.families) == sorted(network.families)
    assert group.fixed_by == ()


def test_no_larger_permutation_is_a_symmetry_of_the_padded_shortcut():
    """The four channels that the shortcut reaches move with it; the other four on their own."""
    network = NETWORKS["padded shortcut"]
    model, inputs = network.model(), network.data(5)
    own = tensors(model)
    order = torch.tensor([2, 1, 0, 3, 4, 5, 6, 7])  # a padded channel against a reached one
    moved = own | {
        "second.weight": own["second.weight"][order], "second.bias": own["second.bias"][order],
        "out.weight": own["out.weight"][:, order],
    }  # fmt: skip
    assert (output(model, moved, inputs) - output(model, own, inputs)).abs().max() > 1e-3


def test_statistics_of_batchnorm_move_along():
    network = NETWORKS["flattened"]
    model = network.model()
    group = permutation_group(model, network.data(2))
    own = tensors(model)
    moved = group.apply(own, {"0": torch.tensor([1, 2, 0])})
    for name in ("1.running_mean", "1.running_var", "1.weight", "0.bias"):
        assert torch.equal(moved[name], own[name].roll(-1))


def test_the_model_is_left_as_it_was():
    model = NETWORKS["residual"].model().train()
    before = tensors(model)
    permutation_group(model, NETWORKS["residual"].data(2))
    assert model.training
    assert all(torch.equal(t, before[n]) for n, t in tensors(model).items())


def test_an_operation_without_a_rule_keeps_what_it_sees_in_place():
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.LocalResponseNorm(3), nn.Flatten(), nn.Linear(64, 5), nn.ReLU(),
        nn.Linear(5, 2),
    )  # fmt: skip
    group = permutation_group(model, torch.randn(2, 1, 6, 6))
    assert [family.name for family in group.families] == ["3"]
    assert group.fixed_by == ("1",)


def test_frozen_weights_keep_their_units_in_place():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))
    model[4].weight.requires_grad_(False)
    group = permutation_group(model, torch.randn(2, 3))
    assert [(family.name, family.size) for family in group.families] == [("0", 4)]


def test_hooked_layers_keep_their_units_in_place():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    model[2].register_forward_pre_hook(lambda module, args: (args[0] * torch.arange(4.0),))
    group = permutation_group(model, torch.randn(2, 3))
    assert not group.families


class _Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x) if x.sum() > 0 else x


class _Outer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.branching = nn.Linear(2, 2), _Branching()

    def forward(self, x: Tensor) -> Tensor:
        return self.branching(self.first(x))


def test_a_model_that_cannot_be_traced_is_refused_by_the_name_of_the_module():
    with pytest.raises(InputError, match=r"torch\.fx .* in 'branching' \(_Branching\)"):
        permutation_group(_Outer(), torch.randn(2, 2))


class _Computed(nn.Module):
    """Uses its weight as it is not: in the graph, or behind the graph's back."""

    def __init__(self, hidden: bool) -> None:
        super().__init__()
        self.first, self.weight = nn.Linear(3, 3), nn.Parameter(torch.randn(3, 3))
        self.seen = [None if not hidden else self.weight]

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.seen[0]
        weight = self.weight.exp() if hidden is None else hidden.exp()
        return F.linear(torch.relu(self.first(x)), weight)


def test_weights_that_are_computed_before_use_keep_their_units_in_place():
    assert not permutation_group(_Computed(hidden=False), torch.randn(2, 3)).families


def test_weights_that_are_computed_behind_the_graph_are_refused():
    with pytest.raises(InputError, match="computes before use"):
        permutation_group(_Computed(hidden=True), torch.randn(2, 3))


def test_what_is_no_permutation_is_refused():
    group = permutation_group(NETWORKS["mlp"].model(), NETWORKS["mlp"].data(2))
    own = tensors(NETWORKS["mlp"].model())
    with pytest.raises(InputError, match="a permutation of 7 units"):
        group.apply(own, {"0": torch.zeros(7, dtype=torch.int64)})
    with pytest.raises(InputError, match="a family among 0, 2"):
        group.apply(own, {"4": torch.arange(3)})


LAYERS = st.sampled_from(["linear", "norm", "relu", "tanh", "skip", "dropout", "layer norm"])


class _Skip(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inner(x)


def _random_network(kinds: list[str], widths: list[int], convolutional: bool) -> nn.Module:
    """A stack of layers drawn at random, of channels or of features."""
    width, layers = 2, []

    def linear(into: int, out: int) -> nn.Module:
        return nn.Conv2d(into, out, 3, padding=1) if convolutional else nn.Linear(into, out)

    for kind, out in zip(kinds, widths, strict=False):
        if kind == "linear":
            layers.append(linear(width, out))
            width = out
        elif kind == "norm":
            layers.append(nn.BatchNorm2d(width) if convolutional else nn.BatchNorm1d(width))
        elif kind == "layer norm":
            layers.append(nn.LayerNorm([width, 4, 4]) if convolutional else nn.LayerNorm(width))
        elif kind == "skip":
            inner = nn.Sequential(linear(width, out), nn.ReLU(), linear(out, width))
            layers.append(_Skip(inner))
        else:
            layers.append({"relu": nn.ReLU, "tanh": nn.Tanh, "dropout": nn.Dropout}[kind]())
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(width * (16 if convolutional else 1), 2))


@settings(max_examples=40)
@given(
    kinds=st.lists(LAYERS, min_size=1, max_size=7),
    widths=st.lists(st.integers(1, 6), min_size=7, max_size=7),
    convolutional=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_a_permuted_network_of_random_layers_computes_the_same(kinds, widths, convolutional, seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = _random_network(kinds, widths, convolutional).double().eval()
        for parameter in model.parameters():
            parameter.data.normal_()
        inputs = torch.randn(3, 2, 4, 4) if convolutional else torch.randn(3, 2)
    inputs, own = inputs.double(), tensors(model)
    group = permutation_group(model, inputs)
    moved = group.apply(own, group.random(torch.Generator().manual_seed(seed)))
    before = output(model, own, inputs)
    torch.testing.assert_close(output(model, moved, inputs), before, rtol=1e-11, atol=1e-11)
