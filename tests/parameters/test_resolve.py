"""From whatever a user holds to θ: matched by name, and refused in words."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from tests.helpers import Tied
from thalweg.errors import InputError
from thalweg.parameters import Layout, fingerprint, resolve, save_checkpoint


def resolved(source, model):
    return resolve(source, model, Layout.of(model), "endpoint A")


def flat(model):
    return Layout.of(model).flatten(dict(model.named_parameters()))


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))


@pytest.mark.parametrize("form", ["module", "state dict", "vector", "safetensors", "pt", "pth"])
def test_every_form_of_a_model_gives_the_same_vector(model, form, tmp_path):
    state = dict(reversed(model.state_dict().items()))
    save_checkpoint(tmp_path / "m.safetensors", state)
    for suffix in ("pt", "pth"):
        torch.save(state, tmp_path / f"m.{suffix}")
    source = {"module": model, "state dict": state, "vector": flat(model)}.get(
        form, tmp_path / f"m.{form}"
    )
    theta = resolved(source, model)
    assert torch.equal(theta, flat(model))
    assert fingerprint(theta) == fingerprint(flat(model))


def test_the_vector_is_a_copy(model):
    before = flat(model)
    resolved(model, model).zero_()
    vector = before.clone()
    resolved(vector, model).zero_()
    assert torch.equal(flat(model), before)
    assert torch.equal(vector, before)


@pytest.mark.parametrize("prefixes", [
    ["module."], ["_orig_mod."], ["module.", "_orig_mod."], ["_orig_mod.", "module."],
])  # fmt: skip
def test_prefixes_of_wrappers_are_stripped(model, prefixes):
    state = {"".join(prefixes) + name: t for name, t in model.state_dict().items()}
    assert torch.equal(resolved(state, model), flat(model))


def test_a_model_whose_own_names_begin_like_a_wrapper_is_read_as_it_is():
    wrapped = nn.DataParallel(nn.Linear(2, 1))
    assert torch.equal(resolved(wrapped.state_dict(), wrapped), flat(wrapped))


def test_missing_and_unexpected_names_are_listed(model):
    state = {("renamed" if n == "0.bias" else n): t for n, t in model.state_dict().items()}
    with pytest.raises(InputError, match=r"missing '0\.bias'; unexpected 'renamed'"):
        resolved(state, model)


def test_a_shape_that_differs_is_named_with_both_shapes(model):
    other = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 4))
    with pytest.raises(InputError, match=r"\[1, 3\] for parameter '2\.weight', got \[4, 3\]"):
        resolved(other, model)


def test_a_vector_of_another_size_is_refused(model):
    size = Layout.of(model).size
    with pytest.raises(InputError, match=rf"\[{size}\] for endpoint A, got shape \[1, {size}\]"):
        resolved(flat(model)[None], model)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("form", ["module", "state dict", "vector"])
def test_the_tensor_that_is_not_finite_is_named(model, form, value):
    with torch.no_grad():
        model[2].weight[0, 1] = value
    source = {"module": model, "state dict": model.state_dict(), "vector": flat(model)}[form]
    with pytest.raises(InputError, match=r"finite parameters, got 1 .* 3 entries in '2\.weight'"):
        resolved(source, model)


def test_a_dtype_that_differs_is_refused(model):
    state = {n: t.double() if t.is_floating_point() else t for n, t in model.state_dict().items()}
    with pytest.raises(InputError, match=r"float32.*'0\.weight'.*float64"):
        resolved(state, model)


def test_a_frozen_parameter_that_differs_is_named(model):
    model[0].bias.requires_grad_(False)
    state = {n: t.clone() for n, t in model.state_dict().items()}
    assert torch.equal(resolved(state, model), flat(model)[:0].new_tensor(
        [v for n, p in model.named_parameters() if n != "0.bias" for v in p.flatten().tolist()]
    ))  # fmt: skip
    state["0.bias"] += 1
    with pytest.raises(InputError, match=r"'0\.bias', which is not trainable"):
        resolved(state, model)


def test_a_buffer_that_differs_is_named():
    model = nn.Linear(1, 1)
    model.register_buffer("scale", torch.ones(1))
    with pytest.raises(InputError, match="'scale', which is not trainable"):
        resolved({**model.state_dict(), "scale": torch.zeros(1)}, model)


def test_statistics_of_batchnorm_may_differ(model):
    state = {n: t.clone() for n, t in model.state_dict().items()}
    state["1.running_mean"] += 1
    state["1.num_batches_tracked"] += 7
    assert torch.equal(resolved(state, model), flat(model))


@pytest.mark.parametrize("kept", ["embedding.weight", "out.weight"])
def test_one_of_two_tied_names_is_enough(kept):
    model = Tied()
    drop = {"embedding.weight", "out.weight"} - {kept}
    state = {n: t for n, t in model.state_dict().items() if n not in drop}
    assert torch.equal(resolved(state, model), flat(model))


def test_two_tied_names_with_two_tensors_are_refused():
    model = Tied()
    state = {**model.state_dict(), "out.weight": torch.zeros(7, 5)}
    with pytest.raises(InputError, match=r"'embedding\.weight' and 'out\.weight'"):
        resolved(state, model)


@pytest.mark.parametrize("source", [3, None, [1.0], {"weight": [1.0], "bias": 2}])
def test_what_is_no_model_is_refused(source):
    with pytest.raises(InputError):
        resolved(source, nn.Linear(1, 1))
