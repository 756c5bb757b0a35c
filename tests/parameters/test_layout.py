"""Flat vectors and named tensors: round trips, ties, and what is refused."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tests.helpers import PROBLEMS, Tied
from thalweg.errors import InputError
from thalweg.parameters import Layout

shapes = st.lists(
    st.lists(st.integers(0, 4), max_size=3).map(tuple), min_size=1, max_size=5
).map(tuple)  # fmt: skip


@given(shapes, st.sampled_from([torch.float32, torch.float64]), st.integers(0, 3))
def test_splitting_and_joining_give_back_the_vector(shapes, dtype, models):
    layout = Layout(tuple(f"t{i}" for i in range(len(shapes))), shapes, dtype)
    theta = torch.arange(layout.size, dtype=dtype)
    tensors = layout.unflatten(theta)
    assert [tuple(t.shape) for t in tensors.values()] == list(shapes)
    assert torch.equal(layout.flatten(dict(reversed(tensors.items()))), theta)
    stack = theta.expand(models, -1)
    assert all(
        torch.equal(t, tensors[name].expand(models, *tensors[name].shape))
        for name, t in layout.unflatten(stack).items()
    )


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_layout_is_named_parameters_in_order(name):
    model = PROBLEMS[name].module()
    layout = Layout.of(model)
    named = dict(model.named_parameters())
    assert layout.names == tuple(named)
    assert layout.shapes == tuple(tuple(p.shape) for p in named.values())
    by_hand = torch.cat([p.detach().flatten() for p in named.values()])
    assert torch.equal(layout.flatten(named), by_hand)


def test_tied_weights_count_once():
    layout = Layout.of(Tied())
    assert layout.names == ("embedding.weight", "hidden.weight", "hidden.bias")
    assert layout.size == 7 * 5 + 25 + 5


def test_frozen_parameters_are_left_out():
    model = nn.Linear(2, 3)
    model.bias.requires_grad_(False)
    assert Layout.of(model).names == ("weight",)


def test_the_entries_of_tensors_that_are_not_contiguous_are_read_in_row_major_order():
    model = nn.Linear(2, 3, bias=False)
    model.weight = nn.Parameter(torch.arange(6.0).reshape(2, 3).t())
    expanded = nn.Module()
    expanded.w = nn.Parameter(torch.tensor([[1.0], [2.0]]).expand(2, 3))
    assert Layout.of(model).flatten(dict(model.named_parameters())).tolist() == [0, 3, 1, 4, 2, 5]
    layout = Layout.of(expanded)
    assert layout.flatten(dict(expanded.named_parameters())).tolist() == [1, 1, 1, 2, 2, 2]


@pytest.mark.parametrize("model", [nn.ReLU(), nn.Linear(2, 3).requires_grad_(False)])
def test_a_model_without_trainable_parameters_is_refused(model):
    with pytest.raises(InputError, match=f"{type(model).__name__} with none"):
        Layout.of(model)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.complex64])
def test_a_dtype_that_cannot_carry_a_path_is_named_with_its_tensor(dtype):
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    model[1].bias = nn.Parameter(torch.zeros(1, dtype=dtype))
    short = str(dtype).removeprefix("torch.")
    with pytest.raises(InputError, match=rf"got {short} in '1\.bias'"):
        Layout.of(model)


def test_mixed_dtypes_are_refused_naming_one_tensor_of_each():
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1).double())
    with pytest.raises(InputError, match=r"float32 in '0\.weight', float64 in '1\.weight'"):
        Layout.of(model)


def test_a_lazy_layer_that_has_not_seen_data_is_refused():
    with pytest.raises(InputError):
        Layout.of(nn.LazyLinear(3))
