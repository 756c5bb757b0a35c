"""Errors handed on through one step of a recurrent layer, or two: none is larger than its bound."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor

from thalweg.certify.factors import Factors
from thalweg.certify.jacobians import Passage, blocks_of
from thalweg.certify.taylor import TaylorModel


def _passage(blocks: Tensor, begun: list[Tensor], before: Passage | None = None) -> Passage:
    """A step of a layer with weights `[gates, m, m]`."""
    gates, width, _ = blocks.shape
    weight = TaylorModel(blocks.reshape(gates * width, width))
    handed = torch.einsum("kum,nm->knu", blocks.abs(), begun[0]) * (1 + 1e-12)
    return Passage(weight, gates, begun, handed, before)


def _one(value: float) -> Tensor:
    return torch.full((1, 1), value, dtype=torch.float64)


def _factors(values: dict[int, float]) -> Factors:
    return Factors(tuple(values), torch.stack([_one(value) for value in values.values()]))


def test_gates_whose_errors_cancel_leave_what_is_fresh():
    passage = _passage(torch.ones(2, 1, 1).double(), [_one(1.0)])
    found, _ = passage.tightened(_one(2.0), _one(0.25), _factors({0: 1.0, 1: -1.0}))
    assert 0.25 <= float(found) < 0.25 + 1e-12
    both, _ = passage.tightened(_one(2.0), _one(0.0), _factors({0: 1.0, 1: 1.0}))
    assert float(both) == pytest.approx(2.0)


def test_a_state_that_is_carried_on_counts_beside_the_gates():
    passage = _passage(torch.full((1, 1, 1), 3.0).double(), [_one(1.0), _one(10.0)])
    # The first state goes through the weights and along: 3 − 2 = 1; the second by itself.
    factors = _factors({0: 1.0, -1: -2.0, -2: 0.5})
    found, _ = passage.tightened(_one(100.0), _one(0.0), factors)
    assert float(found) == pytest.approx(1 + 5)


def test_tightening_never_widens():
    passage = _passage(torch.ones(1, 1, 1).double(), [_one(1e6)])
    assert float(passage.tightened(_one(0.5), _one(0.0), _factors({0: 1.0}))[0]) == 0.5


def test_a_look_back_over_two_steps_sees_what_one_step_hides():
    turn = torch.tensor([[[0.0, 1.0], [-1.0, 0.0]]]).double() + torch.eye(2).double()
    begun = [torch.ones(1, 2).double()]
    ones, zeros = torch.ones(1, 2).double(), torch.zeros(1, 2).double()
    first = _passage(turn, begun)
    middle, end = first.tightened(9 * ones, zeros, Factors((0,), ones[None]))
    first.end([end])
    assert middle.tolist() == [[pytest.approx(2.0)] * 2]
    second = _passage(turn, [middle], first)
    # Twice an eighth of a turn, √2 longer each time: [0, 2; -2, 0], not 2 × 2 = 4.
    assert second.tightened(9 * ones, zeros, Factors((0,), ones[None]))[0].tolist() == [
        [pytest.approx(2.0)] * 2
    ]


def _random(generator: torch.Generator, width: int, states: int) -> tuple[Factors, Tensor]:
    """Factors and fresh noise of one number `[3, width]`."""
    keys = (0, 1, -1, -2)[: 2 + states]
    factors = Factors(keys, torch.randn(len(keys), 3, width, generator=generator).double())
    return factors, 0.1 * torch.rand(3, width, generator=generator).double()


def _handed(factors: Factors, blocks: Tensor, errors: list[Tensor]) -> Tensor:
    total = torch.zeros_like(errors[0])
    for key, factor in factors.items():
        through = errors[0] @ blocks[key].t() if key >= 0 else errors[-1 - key]
        total = total + factor * through
    return total


@pytest.mark.parametrize("width", [2, 5, 24])  # Jacobians of the last one are in float32
@pytest.mark.parametrize(("states", "seed"), list(product((1, 2), range(5))))
def test_no_choice_of_errors_leaves_the_bounds_of_one_step_or_two(width, states, seed):
    generator = torch.Generator().manual_seed(seed)
    blocks = torch.randn(2, width, width, generator=generator).double() / width**0.5
    begun = [torch.rand(3, width, generator=generator).double() for _ in range(states)]
    rules = [[_random(generator, width, states) for _ in range(states)] for _ in range(2)]
    infinite = torch.full_like(begun[0], torch.inf)
    first = _passage(blocks, begun)
    assert (first.blocks.dtype == torch.float32) == (width == 24)
    ends = [first.tightened(infinite, fresh, factors) for factors, fresh in rules[0]]
    first.end([end for _, end in ends])
    second = _passage(blocks, [noise for noise, _ in ends], first)
    found = [second.tightened(infinite, fresh, factors)[0] for factors, fresh in rules[1]]
    alone = _passage(blocks, [noise for noise, _ in ends])
    plain = [alone.tightened(infinite, fresh, factors)[0] for factors, fresh in rules[1]]
    assert sum(float(noise.sum()) for noise in found) < sum(float(n.sum()) for n in plain)
    largest = [torch.zeros_like(noise) for noise in found]
    for _ in range(400):
        errors = [_corner(generator, noise) for noise in begun]
        for bounds, step in ((ends, rules[0]), (None, rules[1])):
            errors = [
                _handed(factors, blocks, errors) + _corner(generator, fresh)
                for factors, fresh in step
            ]  # fmt: skip
            if bounds is not None:
                for error, (noise, _) in zip(errors, bounds, strict=True):
                    assert (error.abs() <= noise).all()
        for error, noise, most in zip(errors, found, largest, strict=True):
            assert (error.abs() <= noise).all()
            torch.maximum(most, error.abs(), out=most)
    # What is random reaches a part of what is possible: the bounds are no wild guesses.
    if width == 2:
        assert all(float((m / n).max()) > 0.5 for m, n in zip(largest, found, strict=True))


def _corner(generator: torch.Generator, noise: Tensor) -> Tensor:
    """Errors as large as they may be."""
    return noise * torch.randn(noise.shape, generator=generator).sign()


def test_jacobians_in_float32_are_no_tighter_than_in_float64():
    generator = torch.Generator().manual_seed(0)
    weight = TaylorModel(torch.randn(96, 24, generator=generator).double())
    assert blocks_of(weight, 4).dtype == torch.float32
    begun = [torch.rand(5, 24, generator=generator).double()]
    drawn = [torch.randn(5, 24, generator=generator).double() for _ in range(5)]
    factors = Factors((0, 1, 2, 3, -1), torch.stack(drawn))
    blocks = weight.value.reshape(4, 24, 24)
    handed = torch.einsum("kum,nm->knu", blocks.abs(), begun[0]) * (1 + 1e-12)
    loose, zero = torch.full((5, 24), 1e6).double(), torch.zeros(5, 24).double()
    found = []
    for dtype in (torch.float32, torch.float64):
        weight.cache["blocks"] = blocks.to(dtype)
        first = Passage(weight, 4, begun, handed)
        noise, end = first.tightened(loose, zero, factors)
        first.end([end])
        again = torch.einsum("kum,nm->knu", blocks.abs(), noise) * (1 + 1e-12)
        second = Passage(weight, 4, [noise], again, first)
        found.append(torch.cat([noise, second.tightened(loose**2, zero, factors)[0]]))
    assert (found[0] >= found[1]).all()
    torch.testing.assert_close(*found, rtol=1e-4, atol=0)
