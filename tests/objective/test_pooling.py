"""Pooling by slices, bit for bit torch's."""

from __future__ import annotations

import math

import pytest
import torch
from torch import fx, nn
from torch.nn import functional

from thalweg.objective.pooling import (
    SlicedMaxPool2d,
    pool_before_relu,
    relu_in_place,
    with_fast_pooling,
)


@pytest.mark.parametrize("kernel", [1, 2, 3, (2, 3), (3, 1)])
@pytest.mark.parametrize("size", [(6, 6), (7, 9), (3, 4), (28, 28)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_slices_give_the_bits_of_torch(kernel, size, dtype):
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(2, 3, *size, generator=generator, dtype=dtype)
    image[0, 0, 1, 1], image[0, 1, 0, 0], image[1, 0, 0, 1] = math.nan, math.inf, -math.inf
    image[1, 2] = -math.inf
    pair = kernel if isinstance(kernel, tuple) else (kernel, kernel)
    expected, got = nn.MaxPool2d(kernel)(image), SlicedMaxPool2d(pair)(image)
    assert got.shape == expected.shape
    assert torch.equal(got.nan_to_num(nan=7.5), expected.nan_to_num(nan=7.5))
    assert torch.equal(got.isnan(), expected.isnan())
    assert torch.equal(
        SlicedMaxPool2d(pair)(image[0]).isnan(), nn.MaxPool2d(kernel)(image[0]).isnan()
    )


@pytest.mark.parametrize("kernel", [1, 2, 3, 4, (3, 2), (2, 5)])
@pytest.mark.parametrize("stride", [1, 2, 3, (2, 1), (1, 4)])
@pytest.mark.parametrize("ceil", [False, True])
def test_windows_that_overlap_or_reach_beyond_give_the_bits_of_torch(kernel, stride, ceil):
    pool = nn.MaxPool2d(kernel, stride, ceil_mode=ceil)
    fast = with_fast_pooling(pool)
    assert isinstance(fast, SlicedMaxPool2d)
    generator = torch.Generator().manual_seed(0)
    for height in range(5, 13):
        image = torch.randn(2, 2, height, 17 - height, generator=generator)
        assert torch.equal(fast(image), pool(image)), image.shape


def test_an_image_smaller_than_a_window_is_refused_as_torch_does():
    pool = nn.MaxPool2d(3, 2)
    with pytest.raises(RuntimeError, match="too small"):
        with_fast_pooling(pool)(torch.zeros(1, 1, 2, 8))


def test_relu_stays_before_windows_that_overlap():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(3, 2))
    traced = fx.symbolic_trace(model)
    before = [node.name for node in traced.graph.nodes]
    pool_before_relu(traced)
    assert [node.name for node in traced.graph.nodes] == before
    image = torch.randn(2, 1, 9, 9, generator=torch.Generator().manual_seed(0))
    assert torch.equal(traced(image), model(image))


@pytest.mark.parametrize(("pool", "replaced"), [
    (nn.MaxPool2d(2), True), (nn.MaxPool2d((2, 3)), True), (nn.MaxPool2d(2, 2), True),
    (nn.MaxPool2d(3, 2), True), (nn.MaxPool2d(2, padding=1), False),
    (nn.MaxPool2d(2, dilation=2), False), (nn.MaxPool2d(2, ceil_mode=True), True),
    (nn.MaxPool2d(2, return_indices=True), False),
    (nn.AvgPool2d(2), False), (nn.MaxPool1d(2), False),
])  # fmt: skip
def test_only_pools_over_whole_lines_are_replaced_and_the_model_is_left_alone(pool, replaced):
    inner = nn.Sequential(nn.Conv2d(1, 2, 3), pool)
    model = nn.Sequential(inner, nn.Flatten())
    fast = with_fast_pooling(model)
    assert any(isinstance(m, SlicedMaxPool2d) for m in fast.modules()) == replaced
    assert inner[1] is pool
    if not isinstance(pool, nn.MaxPool1d) and not getattr(pool, "return_indices", False):
        image = torch.randn(3, 1, 11, 9, generator=torch.Generator().manual_seed(0))
        assert torch.equal(fast(image), model(image))


def test_one_pool_used_in_two_places_and_a_model_that_is_a_pool():
    pool = nn.MaxPool2d(2)
    model = nn.Sequential(pool, nn.ReLU(), pool)
    image = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(with_fast_pooling(model)(image), model(image))
    assert torch.equal(with_fast_pooling(pool)(image), pool(image))


def test_pooling_before_relu_changes_no_bit():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(3, 2, 2))
    image = torch.randn(5, 1, 9, 11)
    image[0, 0, 4, 4] = float("nan")
    traced = fx.symbolic_trace(model)
    pool_before_relu(traced)
    with torch.no_grad():
        assert torch.equal(traced(image).nan_to_num(7.0), model(image).nan_to_num(7.0))
    kinds = [
        type(traced.get_submodule(str(n.target))) for n in traced.graph.nodes if "module" in n.op
    ]
    assert kinds == [nn.Conv2d, SlicedMaxPool2d, nn.ReLU, nn.Conv2d]


def test_a_relu_whose_output_is_used_twice_stays_where_it_is():
    class Twice(nn.Module):
        def forward(self, x):
            hidden = torch.relu(x)
            return functional.max_pool2d(hidden, 2).sum() + hidden.sum()

    image = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    traced = fx.symbolic_trace(Twice())
    pool_before_relu(traced)
    assert torch.equal(traced(image), Twice()(image))


def test_a_relu_overwrites_only_what_nothing_else_sees():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 3)

        def forward(self, x):
            hidden = self.layer(x)
            return torch.relu(hidden) + hidden

    model, x = Shared(), torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    traced = fx.symbolic_trace(model)
    relu_in_place(traced)
    with torch.no_grad():
        assert torch.equal(traced(x), model(x))
