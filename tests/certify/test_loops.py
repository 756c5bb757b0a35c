"""Formulas in compiled loops: the same numbers as by torch, and nothing unknown is lost."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pytest
import torch
from torch import Tensor

from thalweg.certify import jacobian_loops, loops, parabola_loops, rules_maximum
from thalweg.certify.factors import Factors
from thalweg.certify.jacobians import Passage
from thalweg.certify.parabola import Parabola, affine
from thalweg.certify.rounding import tiny, ultimate, unit
from thalweg.certify.taylor import TaylorModel


def _numbers(count: int, seed: int = 0) -> list[Tensor]:
    """Random numbers `[1000]`, every third with the same sign of its error and small."""
    generator = torch.Generator().manual_seed(seed)
    found = [torch.randn(1000, generator=generator).double() for _ in range(count)]
    return [part * 10.0 ** -(k % 3) for k, part in enumerate(found)]


def _larger_of(x: list[Tensor], y: list[Tensor]) -> TaylorModel:
    models = (TaylorModel(value, slope, noise.abs()) for value, slope, noise in (x, y))
    return rules_maximum.maximum(*models)


def test_a_loop_and_torch_find_the_same_maxima():
    x, y = _numbers(3), _numbers(3, 1)
    x[2], y[2] = x[2].abs(), y[2].abs()
    found = _larger_of(x, y)
    expected = rules_maximum._maximum(*x, *y)
    for part, other in zip((found.value, found.slope, found.remainder), expected, strict=False):
        assert part is not None
        torch.testing.assert_close(part, other, rtol=1e-15, atol=1e-300)


@pytest.mark.parametrize("where", range(6))
@pytest.mark.parametrize("what", [float("nan"), float("inf")])
def test_a_maximum_of_something_unknown_is_unknown(where: int, what: float):
    parts = [torch.tensor([value]).double() for value in (3.0, 0.5, 0.1, 1.0, 0.25, 0.2)]
    parts[where] = torch.tensor([what]).double()
    found = _larger_of(parts[:3], parts[3:])
    assert found.slope is not None
    assert found.remainder is not None
    reach = float(found.value.abs() + found.slope.abs() + found.remainder)
    assert not np.isfinite(reach)


def _block(seed: int, dtype: torch.dtype) -> Tensor:
    """A block `[5, 1000]`: noise is positive, and fresh is some of it."""
    value, slope, noise, curve, fresh = _numbers(5, seed)
    noise = noise.abs()
    return torch.stack([value, slope, curve * 0.1, noise, noise * fresh.abs().clamp(max=1)]).to(
        dtype
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("name", "share", "more"), [("sum", 2, 16), ("product", 16, 32)])
def test_a_loop_and_torch_find_the_same_of_two_numbers(
    name: str, share: int, more: int, dtype: torch.dtype
):
    x, y, u = _block(0, dtype), _block(1, dtype), unit(dtype)
    formula: Any = getattr(parabola_loops, f"_{name}")
    expected = torch.stack(formula(*x, *y, share * u, 1 + more * u, tiny(dtype)))
    found = getattr(parabola_loops, f"{name}s")(x, y)
    # A formula of torch's rounds every operation to the type of the numbers.
    torch.testing.assert_close(found, expected, rtol=64 * unit(dtype), atol=64 * unit(dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["sigmoid", "tanh"])
def test_a_loop_and_torch_find_the_same_of_one_number(name: str, dtype: torch.dtype):
    x = _block(0, dtype)
    formula: Any = getattr(parabola_loops, f"_{name}")
    value = getattr(torch, name)(x[0])
    *expected, gradient = formula(value, *x[1:], ultimate(dtype), unit(dtype), tiny(dtype))
    found, slope = getattr(parabola_loops, f"{name}s")(x)
    rounding = 256 * unit(dtype)
    torch.testing.assert_close(found, torch.stack([value, *expected]), rtol=rounding, atol=rounding)
    torch.testing.assert_close(slope, gradient, rtol=rounding, atol=rounding)


def test_what_stands_for_an_exponential_is_no_less():
    x = torch.linspace(0, 13, 100_001, dtype=torch.float64)
    bound = parabola_loops._exponential(x)
    assert (bound >= torch.exp(x)).all()
    small = x <= 0.3
    assert (bound[small] <= torch.exp(x[small]) * 1.0034).all()


@pytest.mark.parametrize("rows", [1, 7, 5000])
def test_an_affine_map_does_not_depend_on_how_many_rows_are_worked_on(
    rows: int, monkeypatch: pytest.MonkeyPatch
):
    generator = torch.Generator().manual_seed(0)
    parts = [torch.randn(40, 6, generator=generator).double() for _ in range(4)]
    x = Parabola((parts[0], parts[1], parts[2]), parts[3].abs(), parts[3].abs())
    weight = TaylorModel(*torch.randn(2, 8, 6, generator=generator).double())
    bias = TaylorModel(*torch.randn(2, 8, generator=generator).double())
    expected = affine(x, weight, bias)
    value, slope, curve = x.parts
    torch.testing.assert_close(expected.parts[0], value @ weight.value.t() + bias.value)
    assert weight.slope is not None
    assert bias.slope is not None
    tilted = slope @ weight.value.t() + value @ weight.slope.t() + bias.slope
    torch.testing.assert_close(expected.parts[1], tilted)
    bent = curve @ weight.value.t() + slope @ weight.slope.t()
    torch.testing.assert_close(expected.parts[2], bent)
    noise = x.noise @ (weight.value.abs() + weight.slope.abs()).t()
    noise = noise + (curve @ weight.slope.t()).abs()
    torch.testing.assert_close(expected.noise, noise)
    monkeypatch.setattr("thalweg.certify.parabola._PRODUCTS", rows * 3 * 16 * 8)
    found = affine(x, weight, bias)
    for one, other in zip(
        (*found.parts, found.noise), (*expected.parts, expected.noise), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("width", [3, 24])  # the second one's Jacobians are in float32
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_jacobians_by_example_are_those_of_all_examples_at_once(
    width: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
):
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(dtype)

    weight = TaylorModel(torch.randn(4 * width, width, generator=generator).double())
    begun = [random(5, width).abs(), random(5, width).abs()]
    handed = random(4, 5, width).abs() * width
    factors = [Factors((0, 1, 3, -1, -2), random(5, 5, width)) for _ in range(2)]
    fresh, far = random(5, width).abs(), torch.full((5, width), 1e9).to(dtype)

    def both() -> list[Tensor]:
        first = Passage(weight, 4, begun, handed)
        ends = [first.tightened(far, fresh, each) for each in factors]
        first.end([end for _, end in ends])
        second = Passage(weight, 4, [noise for noise, _ in ends], handed, first)
        again = [second.tightened(far, fresh, each) for each in factors]
        return [part for noise, end in (*ends, *again) for part in (noise, end.rest, end.loose)]

    found = both()
    monkeypatch.setattr(jacobian_loops, "WIDEST", 0)
    for one, other in zip(found, both(), strict=True):
        torch.testing.assert_close(one, other, rtol=2e-5, atol=1e-5)


def test_without_a_place_to_keep_it_a_loop_is_compiled_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
):
    kept = numba.njit

    def njit(*args: Any, cache: bool = False, **options: Any) -> Any:
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return kept(*args, **options)

    monkeypatch.setattr(numba, "njit", njit)

    def double(numbers: Any) -> None:
        for i in range(len(numbers)):
            numbers[i] = 2 * numbers[i]

    numbers = np.arange(3.0)
    loops.compiled()(double)(numbers)
    assert numbers.tolist() == [0.0, 2.0, 4.0]
