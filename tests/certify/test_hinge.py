"""Functions with one kink: what their models enclose, by loops and by torch's operations."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from thalweg.certify.hinge import _hinge, hinge
from thalweg.certify.origins import Origin
from thalweg.certify.taylor import TaylorModel

SLOPES = [(0.0, 1.0), (0.01, 1.0), (-1.0, 1.0), (-0.5, 2.0), (0.3, 0.7), (-2.0, -0.1)]


def _arguments(count: int = 600) -> TaylorModel:
    """Numbers of which about a half may be on either side of the kink, some without an error."""
    generator = torch.Generator().manual_seed(0)
    value, slope, noise = torch.randn(3, 1, count, generator=generator).double()
    noise = noise.abs() * 0.3
    noise[:, ::5] = 0.0
    slope[:, ::7] = 0.0
    x = TaylorModel(value, slope, noise)
    x.origin = Origin(noise, None, lambda g, _: g, lambda owner: torch.zeros(1, count), 0.0)
    return x


def _function(y: Tensor, low: float, high: float) -> Tensor:
    return torch.where(y > 0, high * y, low * y)


@pytest.mark.parametrize(("low", "high"), SLOPES)
def test_a_loop_and_torch_find_the_same_model(low: float, high: float):
    x = _arguments()
    found = hinge(x, low, high)
    exact = {low, high} <= {0.0, 1.0, -1.0}
    sides = low, high, 0.0 if low <= 0 <= high else -math.inf, max(abs(low), abs(high), 1.0)
    tensors = torch.tensor([*sides, 0.0 if exact else 1.0], dtype=torch.float64).unbind()
    expected = _hinge(x.value, x.slope, x.remainder, tensors)
    alone = hinge(TaylorModel(x.value, x.slope, x.remainder), low, high)
    assert alone.origin is None
    for model in (found, alone):
        parts = model.value, model.slope, model.remainder
        for part, other in zip(parts, expected, strict=False):
            assert part is not None
            torch.testing.assert_close(part, other, rtol=1e-15, atol=1e-16)


@pytest.mark.parametrize(("low", "high"), SLOPES)
def test_every_value_is_enclosed_and_its_error_goes_through_by_a_factor(low: float, high: float):
    x = _arguments()
    out = hinge(x, low, high)
    assert x.slope is not None
    assert x.remainder is not None
    assert out.slope is not None
    assert out.remainder is not None
    assert out.origin is not None
    owner = torch.zeros(1, dtype=torch.int64)
    factor = out.origin.pull(torch.ones(1, x.shape[1]).double(), owner)
    fresh = out.origin.fresh(owner)
    for t in torch.linspace(-1, 1, 41).double():
        line = out.value + t * out.slope
        for share in torch.linspace(-1, 1, 21).double():
            error = share * x.remainder
            off = _function(x.value + t * x.slope + error, low, high) - line
            assert (off.abs() <= out.remainder + 1e-15).all()
            assert ((off - factor * error).abs() <= fresh + 1e-15).all()


def test_where_the_side_is_certain_a_relu_is_exact():
    value, slope, noise = (torch.tensor(part).double() for part in ([2, -2], [1, 1], [0.5, 0.5]))
    out = hinge(TaylorModel(value, slope, noise), 0.0, 1.0)
    for part, expected in ((out.value, [2, 0]), (out.slope, [1, 0]), (out.remainder, [0.5, 0])):
        assert part is not None
        assert part.tolist() == expected


@pytest.mark.parametrize("where", range(3))
@pytest.mark.parametrize("what", [math.nan, math.inf])
def test_a_relu_of_something_unknown_is_unknown(where: int, what: float):
    parts = [torch.tensor([part]).double() for part in (0.25, 0.5, 0.125)]
    parts[where][0] = what
    out = hinge(TaylorModel(*parts), 0.0, 1.0)
    assert out.slope is not None
    assert out.remainder is not None
    assert not math.isfinite(float(out.value.abs() + out.slope.abs() + out.remainder))
