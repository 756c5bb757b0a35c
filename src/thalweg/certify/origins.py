"""Where the remainder of a model comes from, so that later layers may cancel it.

An elementwise remainder r loses the signs: a linear layer makes |W| r of it, two of them |V| |W| r,
where the error itself goes through V W. A model may therefore remember its *origin*. With e the
error of a number, what it is at some s and some weights less `value + slope s`,

    e(out) = J e(in) + f,    |f| <= fresh,    r(out) >= |J| r(in) + fresh up to rounding,    (1)

J fixed, the same for all s, and acting on each example alone: the weights W of a linear layer at
the centre, the factors of a relu's relaxation, the choice of a maximum. What depends on s or is
not linear is in `fresh`: the change of the weights, at most |D| r(in), the bands of unsure kinks,
terms in s², rounding.

A number g·e(out) is then bounded along the chain of origins (:func:`bound_functional`): by
|g|·r(out), or by |g|·fresh + |g J|·r(in), or by |g|·fresh + |g J|·fresh' + |g J J'|·r(in'), and so
on; the least of them holds. This is the backward pass of CROWN (Zhang et al. 2018, *Efficient
neural network robustness certification with general activation functions*), for the remainders
alone: values and slopes need none.

Rounding: with ĝ computed in place of g J, off by at most c |g| |J| elementwise, (1) gives

    |g·e(out)| <= |ĝ·e(in)| + c |g|·(|J| r(in)) + |g|·fresh <= |ĝ·e(in)| + |g|·(fresh + c r(out)),

so that a pull may be computed in float32: c multiplies what had been the whole bound.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from thalweg.certify.rounding import inflate


@dataclass(frozen=True, eq=False)
class Origin:
    """One step back: e(out) = J e(in) + f, |f| <= fresh.

    Attributes:
        noise: r(in), `[n, ...]`.
        earlier: the origin of the input; None: nothing further is known.
        pull: from g `[k, ...]` and the example `[k]` of each row to g J `[k, ...]`, float64.
        fresh: from examples `[k]` to bounds of f, `[k, ...]`.
        rounding: c above; `pull` errs by at most c |g| |J|, underflow aside.
    """

    noise: Tensor
    earlier: Origin | None
    pull: Callable[[Tensor, Tensor], Tensor]
    fresh: Callable[[Tensor], Tensor]
    rounding: float


UNDERFLOW = 2.0**-110
"""More than the underflow errors of a pull in float32 on weights, sums of fewer than 2^30 terms."""


def bound_functional(
    noise: Tensor, origin: Origin | None, g: Tensor, owner: Tensor, enough: Tensor | None = None
) -> Tensor:
    """Bound |g · e| for functionals of the errors of single examples.

    Args:
        noise: r, `[n, ...]`.
        origin: of that noise.
        g: `[k, ...]`, float64.
        owner: `[k]`, the example that each row is about.
        enough: `[k]`, bounds below which nobody cares; None: the less, the better.

    Returns:
        `[k]`, never above |g| · r but for rounding.

    Example:
        >>> noise = torch.ones(1, 2, dtype=torch.float64)
        >>> g = torch.tensor([[1.0, -1.0]], dtype=torch.float64)
        >>> twice = Origin(
        ...     noise / 2, None, lambda g, _: g @ torch.ones(2, 2).double(),
        ...     lambda owner: torch.zeros(len(owner), 2).double(), 0.0,
        ... )
        >>> owner = torch.zeros(1, dtype=torch.int64)
        >>> float(bound_functional(noise, twice, g, owner)) < 1e-12  # both errors are the same
        True
    """
    local = noise[owner]
    best, spent, terms = _dot(g, local), torch.zeros(len(g)).to(noise), local[:1].numel()
    rows = torch.arange(len(g), device=g.device)
    while origin is not None and len(rows):
        spent += _dot(g, origin.fresh(owner) + local * origin.rounding)
        g = origin.pull(g, owner)
        local = origin.noise[owner]
        terms = max(terms, local[:1].numel())
        spent += local.flatten(1).sum(1) * UNDERFLOW
        # What is not a number bounds nothing: fmin passes it over.
        best[rows] = torch.fmin(best[rows], spent + _dot(g, local))
        origin = origin.earlier
        if enough is not None and origin is not None:
            more = best[rows] >= enough[rows]
            rows, g, owner, spent, local = (
                part[more] for part in (rows, g, owner, spent, local)
            )  # fmt: skip
    return inflate(best, terms + 64)


def _dot(g: Tensor, noise: Tensor) -> Tensor:
    return torch.linalg.vecdot(g.abs().flatten(1), noise.flatten(1))
