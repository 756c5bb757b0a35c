"""A sum over the errors of a recurrent network's outputs, carried back through time.

Of many sums Σ g·e over errors e of some numbers, one for each row of a batch, less is lost if g is
carried back to where errors arise than if each error is bounded and then weighed: what a step adds
counts |g J … J| instead of |g| |J| … |J|. A *trace* does that for the sums of a whole batch at
once, layer by layer, each by its own rule; through time it is backpropagation, at the centre. With

    e = J e_before + f,    |f| <= fresh,

J fixed, a sum is Σ (g J)·e_before + Σ g·f. Here g has signs and J has signs; only |g|·fresh is
taken by absolute values (for other networks see :mod:`thalweg.certify.origins`).

Rounding: g J is computed with an error of at most c |g| |J|, whose part of the sum is at most
c |g|·(|J| noise), |J| noise by absolute terms; so is what g itself loses in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from thalweg.certify import adjoint_loops
from thalweg.certify.factors import Factors
from thalweg.certify.jacobians import Passage
from thalweg.certify.rounding import gamma, inflate, unit
from thalweg.certify.single import rounded

Rearrangement = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Trace:
    """Where the errors of some numbers come from.

    Attributes:
        owner: which row of the batch each number belongs to, integers of the numbers' shape.
        rows: how many the batch has.
        bound: from g of that shape to an upper bound of each row's `|Σ g·e|`, `[rows]`; infinite
            or not a number where nothing is known.
    """

    owner: Tensor
    rows: int
    bound: Callable[[Tensor], Tensor]

    def rearranged(self, function: Rearrangement) -> Trace:
        """Of the same numbers, picked or moved."""
        shape = self.owner.shape

        def bound(g: Tensor) -> Tensor:
            back = _moved_back(g, function, shape)
            return self.bound(back) if back is not None else g.new_full((self.rows,), torch.inf)

        return Trace(function(self.owner), self.rows, bound)

    def weighted(self, weight: Tensor, noise: Tensor, fresh: Tensor) -> Trace | None:
        """Of what a linear map makes of the numbers; None if it mixes rows.

        Args:
            weight: `[m, n]` at the centre; all else counts as fresh.
            noise: `[..., m]`, of the results, by absolute values.
            fresh: what did not go through the weight; its room is used for what is charged.
        """
        if not len(weight) or bool((self.owner != self.owner[..., :1]).any()):
            return None
        owner = self.owner[..., :1].expand(noise.shape)
        charged = inflate(fresh.add_(noise, alpha=gamma(weight.shape[0] + 4)), 4)

        def bound(g: Tensor) -> Tensor:
            g = g.double()
            own = inflate(_weighed(g, charged), g.shape[-1] + 8)
            return self.bound(g @ weight) + self._by_row(own, owner[..., 0])

        return Trace(owner, self.rows, bound)

    def contracted(self, gradient: Tensor, noise: Tensor, fresh: Tensor) -> Trace | None:
        """Of `Σ_j gradient_j e_j + f`, |f| <= fresh, over the last dimension; None if rows mix.

        Args:
            gradient: `[..., m]`.
            noise: `[...]`, of the results, by absolute values.
            fresh: `[...]`.
        """
        if bool((self.owner != self.owner[..., :1]).any()):
            return None
        owner = self.owner[..., 0]
        charged = fresh + noise * gamma(4, unit(gradient.dtype))

        def bound(g: Tensor) -> Tensor:
            back = g.to(gradient.dtype)[..., None] * gradient
            return self.bound(back) + self._by_row(g.abs() * charged, owner)

        return Trace(owner, self.rows, bound)

    def _by_row(self, terms: Tensor, owner: Tensor) -> Tensor:
        """Sums of non-negative terms of each row, rounded up."""
        found = terms.new_zeros(self.rows).index_add_(0, owner.reshape(-1), terms.reshape(-1))
        return inflate(found, 2 * terms.numel() + 8)


def _weighed(g: Tensor, charged: Tensor) -> Tensor:
    """Sums of |g| times something, over the last dimension."""
    if not (g.is_cpu and g.numel()):
        return (g.abs() * charged).sum(-1)
    found = g.new_empty(g.shape[:-1])
    rows = (part.reshape(-1, g.shape[-1]).numpy() for part in (g, charged))
    adjoint_loops.weigh(*rows, found.numpy().reshape(-1))
    return found


def _moved_back(g: Tensor, function: Rearrangement, shape: torch.Size) -> Tensor | None:
    """Weights of numbers by weights of the same numbers, moved; None if some were copied.

    A number that was copied would get a sum of weights, whose rounding nobody counts.
    """
    with torch.enable_grad():
        # One number that stands for all: what it is does not matter, nor need it take room.
        x = g.new_zeros(()).expand(shape).requires_grad_()
        y = function(x)
        (times,) = torch.autograd.grad(y, x, g.new_ones(()).expand_as(g), retain_graph=True)
        return torch.autograd.grad(y, x, g)[0] if bool((times <= 1).all()) else None


def of_rows(trace: Trace, g: Tensor, noise: Tensor) -> Tensor | None:
    """Bounds of `|Σ_j g_j e_j|` for each row `[n]` of numbers `[n, m]` that owns them.

    Args:
        trace: of the numbers.
        g: `[n, m]`.
        noise: `[n, m]`, their noise.

    Returns:
        The lesser of what the trace and the noise say; None where row i is not that of number i.
    """
    rows = torch.arange(len(g), device=g.device)[:, None]
    if trace.rows < len(g) or bool((trace.owner != rows).any()):
        return None
    plain = inflate((g.abs() * noise).sum(-1), g.shape[-1] + 4)
    found = inflate(trace.bound(g), 64)[: len(g)]
    return torch.fmin(plain, found).nan_to_num_(nan=torch.inf, posinf=torch.inf)


@dataclass(frozen=True, eq=False)
class Step:
    """One step of a recurrent layer.

    Attributes:
        weight: the recurrent weights `[gates · m, m]` at the centre, of the type of the rest.
        factors: of each state at the end, how its error depends on those at the start.
        charged: of each state at the end, the rest of its error and what rounding does to a sum
            that is carried further back, `[n, m]`.
    """

    weight: Tensor
    factors: Sequence[Factors]
    charged: Sequence[Tensor]

    @classmethod
    def of(cls, passage: Passage, factors: Sequence[Factors], fresh: Sequence[Tensor]) -> Step:
        """What has to be known of a step to go back over it.

        Args:
            passage: the step, ended.
            factors: of each state at the end.
            fresh: of each state at the end, the part of its noise that arises in the step.
        """
        dtype = fresh[0].dtype
        weight = rounded(passage.weight, "value", dtype)
        rounding = gamma(len(weight) + 4 * passage.gates + 20, unit(dtype))
        charged = [
            inflate(torch.add(own, end.loose, alpha=rounding), 8)
            for own, end in zip(fresh, passage.ends, strict=True)
        ]
        return cls(weight, factors, charged)

    def back(self, g: Tensor, found: Tensor) -> Tensor:
        """g J `[states, n, m]`, of the states at the start.

        Args:
            g: `[states, n, m]`, of the states at the end.
            found: `[n]`, to which what the step adds to the bounds of the sums is added.
        """
        direct, through = torch.zeros_like(g), g.new_zeros(g.shape[1], len(self.weight))
        go_back = _back_in_loops if g.is_cpu else _back
        for one, charged, factors in zip(g, self.charged, self.factors, strict=True):
            go_back(one, charged, factors, found, through, direct)
        direct[0].addmm_(through, self.weight)
        return direct


def _back(
    g: Tensor, charged: Tensor, factors: Factors, found: Tensor, through: Tensor, direct: Tensor
) -> None:
    """See :func:`thalweg.certify.adjoint_loops.back`."""
    found += (g.abs() * charged).sum(-1)
    blocks = through.unflatten(-1, (-1, g.shape[-1]))
    for key, factor in factors.items():
        (blocks[:, key] if key >= 0 else direct[-1 - key]).addcmul_(g, factor)


def _back_in_loops(
    g: Tensor, charged: Tensor, factors: Factors, found: Tensor, through: Tensor, direct: Tensor
) -> None:
    block = factors.block if factors else g.new_empty(0, *g.shape)
    given = (part.numpy() for part in (g, charged, block))
    taken = (part.numpy() for part in (found, through, direct))
    adjoint_loops.back(*given, factors.places, *taken)


@dataclass(frozen=True, eq=False)
class Unroll:
    """A recurrent layer in one direction.

    Attributes:
        begun: noise `[n, m]` of the states with which it began.
        steps: in the order in which they were taken.
    """

    begun: Sequence[Tensor]
    steps: Sequence[Step]


def unrolled(directions: Sequence[Unroll]) -> Trace:
    """Of the outputs `[time, n, directions · m]` of a recurrent layer.

    Args:
        directions: a second one began at the end.
    """
    first = directions[0].begun[0]
    (n, width), time = first.shape, len(directions[0].steps)
    owner = torch.arange(n, dtype=torch.int32, device=first.device)[None, :, None]
    owner = owner.expand(time, n, width * len(directions))

    def bound(g: Tensor) -> Tensor:
        g = g.to(first.dtype)
        total = g.new_zeros(n)
        for k, (unroll, part) in enumerate(zip(directions, g.split(width, -1), strict=True)):
            ordered = part.flip(0) if k else part
            now = first.new_zeros(len(unroll.begun), n, width)
            for step, given in zip(reversed(unroll.steps), ordered.flip(0), strict=True):
                now[0] += given
                now = step.back(now, total)
            for one, noise in zip(now, unroll.begun, strict=True):
                total += _weighed(one, noise)
        # Sums over a row, one after the other.
        return inflate(total, width + 8 * time * len(directions) + 16)

    return Trace(owner, n, bound)
