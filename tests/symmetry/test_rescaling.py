"""Sizes that are free leave the function as it is; the normal form is the shortest of an orbit."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.symmetry.networks import NETWORKS, output, tensors
from thalweg.symmetry import rescaling_group

# Free sizes: hidden relu units; behind BatchNorm; a residual sum has one for all its layers.
SIZES = {
    "mlp": 12, "flattened": 9, "groups": 10, "one dimension": 3, "residual": 6 + 6 + 8 + 8,
    "padded shortcut": 8, "tied": 0, "two ways": 8, "joined": 0, "layer scale": 0,
    "one layer twice": 0, "two activations": 4, "gated": 0,
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_a_rescaled_network_computes_the_same(name):
    network = NETWORKS[name]
    model, inputs = network.model(), network.data(7)
    own = tensors(model)
    group = rescaling_group(model, inputs)
    assert group.size == SIZES[name]
    moved = group.apply(own, group.random(torch.Generator().manual_seed(0)))
    assert (output(model, moved, inputs) - output(model, own, inputs)).abs().max() <= 1e-12
    if group.size:
        assert any(not torch.equal(moved[n], own[n]) for n in own)


@pytest.mark.parametrize("name", ["mlp", "groups", "residual", "padded shortcut"])
def test_the_normal_form_is_the_same_for_all_networks_of_an_orbit(name):
    network = NETWORKS[name]
    model = network.model()
    group = rescaling_group(model, network.data(2))
    own = {n: p.detach() for n, p in model.named_parameters()}
    moved = group.apply(own, group.random(torch.Generator().manual_seed(1)))
    one, other = (group.apply(t, group.normal_sizes(t)) for t in (own, moved))
    for n in own:
        torch.testing.assert_close(one[n], other[n], rtol=1e-5, atol=1e-6)
    length = sum(float(t.square().sum()) for t in one.values())
    assert length <= sum(float(t.square().sum()) for t in own.values())


def test_in_normal_form_units_have_as_much_in_as_out():
    model = NETWORKS["mlp"].model()
    group = rescaling_group(model, NETWORKS["mlp"].data(2))
    own = {n: p.detach() for n, p in model.named_parameters()}
    even = group.apply(own, group.normal_sizes(own))
    into = even["0.weight"].square().sum(1) + even["0.bias"] ** 2
    torch.testing.assert_close(into, even["2.weight"].square().sum(0), rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("name", ["mlp", "residual"])
def test_planted_sizes_are_found(name):
    network = NETWORKS[name]
    model = network.model()
    group = rescaling_group(model, network.data(2))
    own = {n: p.detach() for n, p in model.named_parameters()}
    planted = group.random(torch.Generator().manual_seed(2), spread=1.5)
    moved = group.apply(own, planted)
    torch.testing.assert_close(group.nearest_sizes(own, moved), -planted, rtol=1e-6, atol=1e-6)


def test_a_unit_without_outgoing_weights_keeps_its_size():
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)).double()
    model.get_parameter("2.weight").data[0, 1] = 0
    group = rescaling_group(model, torch.randn(2, 2).double())
    own = {n: p.detach() for n, p in model.named_parameters()}
    sizes = group.normal_sizes(own)
    assert sizes[1] == 0
    assert sizes[0] != 0
