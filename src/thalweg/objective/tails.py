"""The end of a training step: losses of a stack of outputs, and their derivatives.

Outputs are `[k, features, n]`, as :mod:`thalweg.objective.chain` keeps them. The usual losses have
closed forms; :func:`through_autograd` works for every loss.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import vmap

Tail = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""From outputs `[k, features, n]` and target to losses `[k]` and derivatives like the outputs."""

# A head applied to so few models one by one costs less than one call of vmap.
_FEW = 6


def closed_form(loss: object, target: Tensor) -> Tail | None:
    """Losses and derivatives in closed form: of mean absolute and squared error, cross-entropy.

    Args:
        loss: a function of ``torch.nn.functional``, or a module, with its default options.
        target: `[n, features]` numbers, or `[n]` classes.

    Returns:
        None for any other loss or kind of target.

    Example:
        >>> target = torch.zeros(2, 1)
        >>> closed_form(nn.L1Loss(), target)(torch.tensor([[[1.0, -3.0]]]), target)
        (tensor([2.]), tensor([[[ 0.5000, -0.5000]]]))
    """
    if target.is_floating_point():
        if loss is F.l1_loss or _plain(loss, nn.L1Loss):
            return _absolute
        if loss is F.mse_loss or _plain(loss, nn.MSELoss):
            return _squared
    elif target.ndim == 1 and (loss is F.cross_entropy or _plain(loss, nn.CrossEntropyLoss)):
        return _cross_entropy
    return None


def through_autograd(head: Callable[[Any, Tensor], Tensor]) -> Tail:
    """Losses and derivatives of any head, by ``torch.autograd`` on the outputs alone.

    Args:
        head: from the output `[n, features]` of one model and the target to values, the first of
            which is the loss.
    """

    def tail(outputs: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        leaf = outputs.detach().requires_grad_()
        with torch.enable_grad():
            losses = over_models(head, leaf.transpose(1, 2), target)[:, 0]
        (delta,) = torch.autograd.grad(losses, leaf, torch.ones_like(losses))
        return losses.detach(), delta

    return tail


def over_models(head: Callable[[Any, Tensor], Tensor], outputs: Tensor, target: Tensor) -> Tensor:
    """A head's values `[k, q]` of each model's output, `[k, n, features]`."""
    if len(outputs) <= _FEW:
        return torch.stack([head(output, target) for output in outputs])
    return vmap(lambda output: head(output, target))(outputs)


def _plain(loss: object, kind: type[nn.Module]) -> bool:
    """Whether a module is of a kind, with its default options."""
    return type(loss) is kind and all(
        getattr(loss, option) == value
        for option, value in _DEFAULTS.items()
        if hasattr(loss, option)
    )


_DEFAULTS = {"reduction": "mean", "weight": None, "label_smoothing": 0.0, "ignore_index": -100}


@lru_cache(maxsize=64)
def _number(value: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """A number as a tensor: a product with a float of Python converts it anew every time."""
    return torch.tensor(value, dtype=dtype, device=device)


def _difference(outputs: Tensor, target: Tensor) -> Tensor:
    if target.shape != (outputs.shape[2], outputs.shape[1]):
        raise RuntimeError("the target is not of the shape of the output")
    return outputs - target.t()


def _absolute(outputs: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    difference = _difference(outputs, target)
    share = _number(1 / target.numel(), target.dtype, target.device)
    losses = difference.abs().sum((1, 2)).mul_(share)
    return losses, difference.sign_().mul_(share)


def _squared(outputs: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    difference = _difference(outputs, target)
    share = _number(1 / target.numel(), target.dtype, target.device)
    losses = difference.square().sum((1, 2)).mul_(share)
    return losses, difference.mul_(2 * share)


def _cross_entropy(outputs: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    index = target.expand(len(outputs), 1, -1)
    share = _number(1 / len(target), outputs.dtype, outputs.device)
    logs = torch.log_softmax(outputs, dim=1)
    # A class that is none, such as one to be ignored, raises here.
    losses = logs.gather(1, index).sum((1, 2)).mul_(-share)
    delta = logs.exp_()
    delta.scatter_add_(1, index, delta.new_full((), -1.0).expand(index.shape))
    return losses, delta.mul_(share)
