"""Formulas in compiled loops: the same numbers as by torch, and nothing unknown is lost."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pytest
import torch
from torch import Tensor

from thalweg.certify import (
    adjoint,
    jacobian_loops,
    loops,
    parabola_loops,
    rules_convolution,
    rules_maximum,
)
from thalweg.certify.factors import Factors, combined
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


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_pairs_along_a_dimension_have_the_larger_of_their_slices(dim: int):
    value, slope, noise = (part[:960].reshape(4, 6, 10, 4) for part in _numbers(3))
    x = TaylorModel(value, slope, noise.abs())
    found, choice = rules_maximum._larger_of_pairs(x, dim)
    slices = rules_maximum._windows(x, dim, 2, 2, 1, x.shape[dim] // 2)
    expected, others = rules_maximum._larger(*slices)
    for one, other in zip(
        (found.value, found.slope, found.remainder, *choice),
        (expected.value, expected.slope, expected.remainder, *others), strict=True,
    ):  # fmt: skip
        assert one is not None
        assert other is not None
        assert torch.equal(one, other)


@pytest.mark.parametrize("bias", [True, False])
def test_a_wide_convolution_is_the_same_put_together_by_a_loop_or_part_by_part(
    bias: bool, monkeypatch: pytest.MonkeyPatch
):
    generator = torch.Generator().manual_seed(0)

    def model(*shape: int) -> TaylorModel:
        value, slope, noise = torch.randn(3, *shape, generator=generator).double()
        return TaylorModel(value, 0.1 * slope, 0.01 * noise.abs())

    x, w, b = model(3, 16, 8, 8), model(5, 16, 3, 3), model(5) if bias else None
    w = TaylorModel(w.value, w.slope)
    found = rules_convolution.convolution(x, w, b, padding=1)
    monkeypatch.setattr(rules_convolution, "_ends_will_do", lambda *_: False)
    expected = rules_convolution.convolution(x, w, b, padding=1)
    for part in ("value", "slope", "remainder"):
        torch.testing.assert_close(
            getattr(found, part), getattr(expected, part), rtol=1e-3, atol=1e-3
        )
    assert found.remainder is not None
    assert expected.remainder is not None
    apart = (found.value - expected.value).abs() + (found.remainder - expected.remainder).abs()
    assert float(apart.max()) > 0  # these are two ways indeed


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


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_step_back_in_loops_is_the_one_by_torch(dtype: torch.dtype):
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(dtype)

    g, charged = random(5, 3), random(5, 3).abs()
    factors = Factors((0, 2, -1, -2), random(4, 5, 3))
    shapes = (5,), (5, 9), (2, 5, 3)
    found = [[torch.ones(shape, dtype=dtype) for shape in shapes] for _ in range(2)]
    for (spent, through, direct), back in zip(
        found, (adjoint._back, adjoint._back_in_loops), strict=True
    ):  # fmt: skip
        back(g, charged, factors, spent, through, direct)
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)
    assert bool((found[0][1][:, 3:6] == 1).all())  # there is no factor of block 1


def test_factors_of_sums_are_sums_of_factors():
    x = Factors((0, 3, -2), torch.randn(3, 4, 2, generator=torch.Generator().manual_seed(0)))
    y = Factors((0, 1, -1, -2), torch.randn(4, 4, 2, generator=torch.Generator().manual_seed(1)))
    v, w = torch.full((4, 2), 2.0), torch.full((4, 2), -3.0)
    found = combined(x, v, y, w)
    assert found.order == (0, 1, 3, -1, -2)
    for key, factor in found.items():
        terms = [by * part[key] for part, by in ((x, v), (y, w)) if key in part]
        assert torch.equal(factor, sum(terms, torch.zeros(4, 2)))
    assert combined(x, None, Factors(), None) is x
    assert [each.tolist() for each in found.places] == [[0, 1, 3, -1, -1], [-1, -1, -1, 0, 1]]
    with pytest.raises(KeyError):
        found[2]


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
