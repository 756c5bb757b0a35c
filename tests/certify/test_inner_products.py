"""Convolutions as products of patches, and bounds that are computed with them."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from thalweg import Criterion, Objective, bound_segment
from thalweg.certify import inner_products, rules_convolution
from thalweg.certify.inner_products import Geometry

GEOMETRIES = [
    Geometry(*each)
    for each in itertools.product((1, 2), (0, 1, "same", "valid"), (1, 2), (1, 2))
    if each[:2] != (2, "same")  # torch has none of these
]


def numbers(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("spatial", [1, 2, 3])
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_patches_give_what_torch_gives(geometry, spatial):
    data = numbers(0, 3, 4, *[9, 8, 7][:spatial])
    kernel = numbers(1, 6, 4 // geometry.groups, *[3, 2, 3][:spatial])
    found = geometry._by_patches(data, kernel)
    torch.testing.assert_close(found, geometry.convolve(data, kernel), rtol=1e-12, atol=1e-13)
    assert found.is_contiguous()


@pytest.mark.parametrize(
    "geometry", [g for g in GEOMETRIES if g.groups == 1 and isinstance(g.padding, int)], ids=str
)
def test_weights_of_outputs_go_back_to_inputs(geometry):
    data, kernel = numbers(0, 3, 4, 9, 8).requires_grad_(), numbers(1, 6, 4, 3, 2)
    out = geometry.convolve(data, kernel)
    g = numbers(2, *out.shape)
    (expected,) = torch.autograd.grad(out, data, g)
    shape = data.shape[1:]
    for back in (geometry.pull_back, geometry._fold_back):
        torch.testing.assert_close(back(g, kernel, shape), expected, rtol=1e-12, atol=1e-13)


def test_data_in_parts_gives_the_same(monkeypatch):
    data, kernel = numbers(0, 7, 4, 9, 8), numbers(1, 6, 4, 3, 2)
    whole = Geometry().convolve(data, kernel)
    monkeypatch.setattr(inner_products, "UNFOLDED", 1)
    assert torch.equal(Geometry().convolve(data, kernel), whole)


@pytest.mark.parametrize("measure", ["loss", "error_rate"])
def test_a_bound_without_float32_is_as_close_and_holds(measure, monkeypatch):
    """As on a GPU, or on a processor whose float32 convolutions are not known to be products."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(8 * 6 * 6, 3),
    )  # fmt: skip
    data = torch.randn(20, 1, 14, 14), torch.randint(3, (20,))
    objective = Objective(model, F.cross_entropy, train=data, criterion=Criterion(measure))
    start = objective.theta(model)
    end = start + 0.01 * torch.randn_like(start)
    single = bound_segment(objective, start, end)
    monkeypatch.setattr(rules_convolution, "single_is_safe", lambda _: False)
    double = bound_segment(objective, start, end)
    assert double.kind == "proved"
    assert double.bound is not None
    assert double.bound == pytest.approx(single.bound, rel=1e-3)
    t = torch.linspace(0, 1, 101)[:, None]
    values = objective.double().criterion_of(((1 - t) * start + t * end).double()).values
    assert float(values.max()) <= double.bound
