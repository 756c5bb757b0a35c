"""Activations with a Lipschitz derivative, and what an enclosure of f(g(t))'' needs of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thalweg.certify.rounding import UNIT
from thalweg.certify.rules_smooth import GELU, SIGMOID, SILU, TANH, Smooth
from thalweg.objective.chain import Elementwise

_TORCH_SOFTPLUS = 20.0
"""Argument above which torch's softplus is the identity, by default."""


@dataclass(frozen=True)
class Activation:
    """A smooth activation and its global properties.

    Attributes:
        function: what the network computes, with an error of at most 16 u (|f| + 1).
        family: f, f', f'' and the critical points of f' and f''.
        lipschitz: at least the supremum of |f'|.
        at_zero: at least |f(0)|.
        ceiling: at least the supremum of |f|.
        limit: the family describes the function for arguments below this only: above, torch
            computes another one, which jumps there by `jump`.
        jump: see `limit`.
    """

    function: Callable[[Tensor], Tensor]
    family: Smooth
    lipschitz: float
    at_zero: float = 0.0
    ceiling: float = math.inf
    limit: float = math.inf
    jump: float = 0.0

    def errors(self, size: Tensor, error: Tensor) -> tuple[Tensor, Tensor]:
        """Bounds of the values, and of the error of the computed values.

        Args:
            size: at least the absolute values of the exact arguments.
            error: at least the distance from them to the computed ones.

        Returns:
            Two tensors of the same shape.
        """
        most = (self.at_zero + self.lipschitz * size).clamp(max=self.ceiling)
        beyond = torch.where(size + error < self.limit, 0.0, self.jump)
        spread = self.lipschitz * error + beyond
        return most, spread + 16 * UNIT * (most + spread + 1)


def activation_of(step: Elementwise) -> Activation | str | None:
    """The activation of a step of a chain; None for the identity; a few words if it is unknown.

    Args:
        step: of :func:`thalweg.objective.chain.chain_of`.

    Example:
        >>> activation_of(Elementwise(torch.relu))
        "'relu' has no continuous derivative, or no bound of its second"
    """
    function, options = step.function, dict(step.options)
    if isinstance(function, nn.Identity) or (
        isinstance(function, nn.Dropout) and not function.training
    ):
        return None
    if isinstance(function, nn.Module):
        found, options = _MODULES.get(type(function)), _settings(function)
    else:
        found = _FUNCTIONS.get(function)
    if found is not None and not step.arguments and options.items() <= _PLAIN.items():
        return found
    name = getattr(function, "__name__", type(function).__name__)
    return f"'{name}' has no continuous derivative, or no bound of its second"


def _settings(module: nn.Module) -> dict[str, Any]:
    return {name: getattr(module, name) for name in _PLAIN if hasattr(module, name)}


# Settings under which the functions below are those of the table.
_PLAIN: dict[str, Any] = {"approximate": "none", "beta": 1, "threshold": 20, "inplace": False}


def _softplus(y: Tensor) -> Tensor:
    return y.clamp(min=0) + torch.log1p(torch.exp(-y.abs()))


def _negative(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda y: -function(y)


_SIGMOID = Activation(torch.sigmoid, SIGMOID, lipschitz=0.25, at_zero=0.5, ceiling=1.0)
_TANH = Activation(torch.tanh, TANH, lipschitz=1.0, ceiling=1.0)
# f' of silu and gelu is largest at the larger zero of f'': 1.09984 and 1.12891.
_SILU = Activation(F.silu, SILU, lipschitz=1.1)
_GELU = Activation(F.gelu, GELU, lipschitz=1.13)
_SOFTPLUS = Activation(
    F.softplus, Smooth(_softplus, torch.sigmoid, SIGMOID.first, (), (0.0,)),
    lipschitz=1.0, at_zero=0.7, limit=_TORCH_SOFTPLUS, jump=2.1e-9,
)  # fmt: skip
# log sigmoid(y) = -softplus(-y), whose derivative is sigmoid(-y).
_LOGSIGMOID = Activation(
    F.logsigmoid,
    Smooth(
        lambda y: -_softplus(-y), lambda y: torch.sigmoid(-y), _negative(SIGMOID.first), (), (0.0,)
    ),
    lipschitz=1.0, at_zero=0.7,
)  # fmt: skip

_MODULES: dict[type[nn.Module], Activation] = {
    nn.Sigmoid: _SIGMOID, nn.Tanh: _TANH, nn.SiLU: _SILU, nn.GELU: _GELU,
    nn.Softplus: _SOFTPLUS, nn.LogSigmoid: _LOGSIGMOID,
}  # fmt: skip
_FUNCTIONS: dict[Any, Activation] = {
    torch.sigmoid: _SIGMOID, F.sigmoid: _SIGMOID, torch.tanh: _TANH, F.tanh: _TANH,
    F.silu: _SILU, F.gelu: _GELU, F.softplus: _SOFTPLUS,
}  # fmt: skip
