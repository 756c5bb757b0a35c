"""How the errors of a recurrent network's states are handed on, by Jacobians summed with signs.

Over a step the error of a number depends on those of the states with which it began,

    e = A e_0 + Σ_i diag(ψ_i) e_i + f,    |f| <= fresh,    A = Σ_k diag(φ_k) B_k + diag(ψ_0),

`B_k` the blocks of the recurrent weights at the centre, through which the first state goes, φ and ψ
the factors of :mod:`thalweg.certify.parabola`. Absolute values are taken of A, summed with its
signs, gate against gate: a step of what Lohner's method does for differential equations (Lohner
1987; Nedialkov, Jackson & Corliss 1999), with boxes. What they lose is lost at every step, so that
every second step looks back over two: with A' that of the first state (and A'_i of the others) one
step before, e_0 = A' e_00 + rest_0 and so on give

    |e| <= |A A' + Σ_i diag(ψ_i) A'_i| |e_00| + |A| rest_0 + Σ_i |ψ_i| rest_i + fresh.

Rounding: Jacobians may be computed in float32. They are charged relative to their absolute terms.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from thalweg.certify import jacobian_loops
from thalweg.certify.factors import Factors
from thalweg.certify.rounding import TINY, UNIT, inflate, tiny, unit
from thalweg.certify.rules_linear import sizes
from thalweg.certify.single import absolute_product, single_is_safe
from thalweg.certify.taylor import TaylorModel

# Numbers of all Jacobians that are looked at together: a few caches full.
_TOGETHER = 1 << 18


@dataclass(eq=False)
class Passage:
    """One step, from the states with which it begins to those with which it ends.

    Attributes:
        weight: the recurrent weights `[gates · m, m]`.
        gates: how many blocks they have.
        begun: noise `[n, m]` of each state at the start.
        handed: `[gates, n, m]`, at least `|B_k|` times the noise of the first state.
        before: the step before, if this one looks back over two.
        ends: what is known of each state at the end, in order, once :meth:`end` was called.
    """

    weight: TaylorModel
    gates: int
    begun: list[Tensor]
    handed: Tensor
    before: Passage | None = None
    ends: list[End] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.blocks = blocks_of(self.weight, self.gates)
        self._loose = self.handed
        if self.before is not None:
            product = absolute_product(self.before.ends[0].loose, self.weight)
            loose = inflate(product, 2 * self.blocks.shape[-1] + 8)
            self._loose = loose.unflatten(-1, (self.gates, -1)).movedim(-2, 0)

    def tightened(self, noise: Tensor, fresh: Tensor, factors: Factors) -> tuple[Tensor, End]:
        """The lesser of a noise and of what the Jacobian makes of the errors at the start.

        Args:
            noise: `[n, m]`, of a number.
            fresh: the part of it that does not come from the states at the start.
            factors: how the rest depends on them.

        Returns:
            Noise `[n, m]`, infinite where neither is a number; and what a look back over this step
            has to know.
        """
        if factors and noise.device.type == "cpu" and noise.shape[-1] <= jacobian_loops.WIDEST:
            return self._by_example(noise, fresh, factors)
        jacobian, largest = self._jacobian(factors), self._largest(factors)
        absolute = self._weighed(factors, self.handed, self.begun)
        rest = fresh.clone()
        for key, factor in factors.items():
            if key < -1:
                rest.addcmul_(factor.abs(), self.begun[-1 - key])
        rest = inflate(rest, 2 * len(factors) + 4)
        if self.before is None:
            known = self._once(rest, jacobian, absolute, largest)
        else:
            known = self._twice(factors, fresh, jacobian, self.before, largest)
        # What is not a number bounds nothing: fmin passes it over.
        noise = torch.fmin(noise, known).nan_to_num_(nan=torch.inf, posinf=torch.inf)
        kept = jacobian if self.before is None else None  # nobody looks back over this step
        return noise, End(kept, rest, inflate(absolute.add_(rest), 8), largest)

    def end(self, ends: list[End]) -> None:
        """Keep what a later look back has to know, and let go of what none needs any more.

        Args:
            ends: of the states, in order.
        """
        self.ends = ends
        self.handed = self._loose = self.handed.new_empty(0)
        if self.before is not None:
            self.before.ends = [replace(end, jacobian=None) for end in self.before.ends]
            self.before = None

    def _by_example(self, noise: Tensor, fresh: Tensor, factors: Factors) -> tuple[Tensor, End]:
        """What :meth:`tightened` says, by compiled loops."""
        (n, width), kind = noise.shape, self.blocks.dtype
        places, of_all = factors.places, factors.block

        def stacked(handed: Tensor, begun: Sequence[Tensor]) -> Tensor:
            return torch.stack([handed[k] if k >= 0 else begun[-1 - k] for k in factors])

        bounds, found = stacked(self.handed, self.begun), noise.new_empty(3, n, width)
        lost = 2.0**-80 if kind == torch.float32 else TINY
        rounding = self._rounding(0 if self.before is None else width)
        charges = (self._slack(), rounding, lost, unit(noise.dtype), tiny(noise.dtype))
        jacobian = noise.new_empty(n, width, width, dtype=kind)
        if self.before is None:
            largest = _run(
                jacobian_loops.once, of_all, self.blocks, places, bounds, fresh, noise,
                self._upward(self.begun[0]), charges, jacobian, found,
            )  # fmt: skip
            return found[0], End(jacobian, found[1], found[2], largest)
        first, *others = self.before.ends
        second = others[0] if min(factors) < -1 else None
        _run(jacobian_loops.jacobians, of_all, self.blocks, places, jacobian)
        largest = _run(
            jacobian_loops.twice, of_all, places, bounds, fresh, noise,
            stacked(self._loose, [end.loose for end in self.before.ends]),
            jacobian, torch.bmm(jacobian, first.jacobian_of(n, width, kind)),
            jacobian[:0] if second is None else second.jacobian_of(n, width, kind),
            self._upward(first.rest), first.rest[:0] if second is None else second.rest,
            self._upward(self.before.begun[0]), max(end.largest for end in self.before.ends),
            charges, found,
        )  # fmt: skip
        return found[0], End(None, found[1], found[2], largest)

    def _once(
        self, rest: Tensor, jacobian: Tensor | None, absolute: Tensor, largest: float
    ) -> Tensor:
        known = rest + absolute * self._rounding(0)
        if jacobian is not None:
            known += self._weigh(jacobian, self.begun[0], largest)
        return inflate(known, 8)

    def _twice(
        self, factors: Factors, fresh: Tensor, jacobian: Tensor | None, before: Passage,
        largest: float,
    ) -> Tensor:  # fmt: skip
        first, *others = before.ends
        moving = [
            (end, factors[-2 - i]) for i, end in enumerate(others) if -2 - i in factors
        ]  # fmt: skip
        known = self._weighed(factors, self._loose, [end.loose for end in before.ends])
        known.mul_(self._rounding(fresh.shape[-1])).add_(fresh)
        for end, factor in moving:
            known.addcmul_(factor.abs(), end.rest)
        if jacobian is not None:
            known += self._weigh(jacobian, first.rest, largest)
        known += self._both(jacobian, moving, first, before.begun[0], largest)
        return inflate(known, 2 * len(factors) + 12)

    def _both(
        self, jacobian: Tensor | None, others: list[tuple[End, Tensor]], first: End,
        noise: Tensor, largest: float,
    ) -> Tensor:  # fmt: skip
        """|A A' + Σ_i diag(ψ_i) A'_i| · noise `[n, m]`."""
        found, width = torch.zeros_like(noise), noise.shape[-1]
        given, together = self._upward(noise), max(1, _TOGETHER // width**2)
        factors = [factor.to(self.blocks.dtype) for _, factor in others]
        for start in range(0, len(noise), together):
            part = slice(start, start + together)
            product: Tensor | None = None
            if jacobian is not None and first.jacobian is not None:
                # [n, m, m], each example's rows far apart in memory
                product = torch.bmm(
                    jacobian[:, part].transpose(0, 1), first.jacobian[:, part].transpose(0, 1)
                )
            for (end, _), factor in zip(others, factors, strict=True):
                if end.jacobian is not None:
                    term = end.jacobian[:, part].transpose(0, 1) * factor[part, :, None]
                    product = term if product is None else product.add_(term)
            if product is not None:
                found[part] = product.abs_().mul_(given[part, None]).sum(-1)
        most = max(largest, first.largest, *(end.largest for end, _ in others), 0.0)
        return self._rounded_up(found, noise, (1 + most) ** 2)

    def _jacobian(self, factors: Factors) -> Tensor | None:
        """A `[m, n, m]`, rows first; None for zero."""
        keys = sorted(key for key in factors if key >= 0)
        own = factors.get(-1)
        if not keys:
            return None if own is None else torch.diag_embed(own.t().to(self.blocks.dtype), 0, 0, 2)
        used = self.blocks if len(keys) == len(self.blocks) else self.blocks[keys]
        stacked = torch.stack([factors[key].t() for key in keys], dim=-1).to(self.blocks.dtype)
        jacobian = torch.bmm(stacked, used.transpose(0, 1))
        if own is not None:
            jacobian.diagonal(dim1=0, dim2=2).add_(own.to(self.blocks.dtype))
        return jacobian

    def _weigh(self, jacobian: Tensor, noise: Tensor, largest: float) -> Tensor:
        """|A| · noise `[n, m]`, rounded up but for what A itself was rounded."""
        found = torch.zeros_like(noise)
        given, together = self._upward(noise), max(1, _TOGETHER // noise.shape[-1] ** 2)
        for start in range(0, len(noise), together):
            part = slice(start, start + together)
            found[part] = jacobian[:, part].abs().mul_(given[part]).sum(-1).t()
        return self._rounded_up(found, noise, 1 + largest)

    def _upward(self, noise: Tensor) -> Tensor:
        if self.blocks.dtype == torch.float64:
            return noise
        return noise.mul(1 + 2.0**-22).float()

    def _rounded_up(self, found: Tensor, noise: Tensor, largest: float) -> Tensor:
        """A sum of non-negative products, with the error of the sum and of underflow."""
        single = self.blocks.dtype == torch.float32
        # Weights are below 2^20, see blocks_of; `largest` bounds the factors.
        lost = 2.0**-80 * largest * (1 + noise.sum(-1, keepdim=True)) if single else TINY
        return found.mul_(1 + self._slack()).add_(lost)

    def _slack(self) -> float:
        """Relative error of a sum of non-negative products, one for each unit."""
        single = self.blocks.dtype == torch.float32
        return (self.blocks.shape[-1] + 24) * (2.0**-23 if single else 2 * UNIT)

    def _rounding(self, products: int) -> float:
        """What rounding does to Jacobians, and to products of two, relative to absolute terms."""
        unit = 2.0**-24 if self.blocks.dtype == torch.float32 else UNIT
        return unit * (1.01 * products + 4 * len(self.blocks) + 32)

    def _weighed(self, factors: Factors, handed: Tensor, states: list[Tensor]) -> Tensor:
        """Factors times what they stand before, all by absolute values `[n, m]`."""
        total = torch.zeros_like(states[0])
        for key, factor in factors.items():
            total.addcmul_(factor.abs(), handed[key] if key >= 0 else states[-1 - key])
        return inflate(total, 2 * len(factors) + 4)

    def _largest(self, factors: Factors) -> float:
        if self.blocks.dtype == torch.float64 or not factors:
            return 0.0
        return float(sum(factor.abs().amax() for factor in factors.values()))


@dataclass(frozen=True, eq=False)
class End:
    """What a look back over two steps has to know of a state between them.

    Attributes:
        jacobian: of its error by that of the first state one step before, `[m, n, m]`, rows first,
            or `[n, m, m]` for compiled loops; None: zero.
        rest: `[n, m]`, bound of the rest of its error.
        loose: `[n, m]`, bound of all of it by the absolute terms of the Jacobian.
        largest: bound of the factors in the Jacobian.
    """

    jacobian: Tensor | None
    rest: Tensor
    loose: Tensor
    largest: float

    def jacobian_of(self, n: int, width: int, kind: torch.dtype) -> Tensor:
        """The Jacobian for compiled loops, `[n, m, m]`."""
        if self.jacobian is None:
            return torch.zeros((n, width, width), dtype=kind)
        return self.jacobian


def _run(loop: Callable[..., float], *arguments: Any) -> float:
    return loop(
        *(each.contiguous().numpy() if isinstance(each, Tensor) else each for each in arguments)
    )


def blocks_of(weight: TaylorModel, gates: int) -> Tensor:
    """Recurrent weights `[gates, m, m]` for Jacobians, kept on the weight.

    In float32 where that is safe and no weight is so large that underflow would count.
    """
    if "blocks" not in weight.cache:
        value = weight.value
        small = float(sizes(weight).max()) < 2.0**20
        single = small and single_is_safe(value.reshape(1, -1))
        dtype = torch.float32 if single else torch.float64
        weight.cache["blocks"] = value.to(dtype).reshape(gates, -1, value.shape[-1])
    return weight.cache["blocks"]
