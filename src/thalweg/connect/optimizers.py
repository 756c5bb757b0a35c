"""Optimizer steps on stacks `[k, p]`: one fused update for all models, each with its own state.

Adam, AdamW, SGD and RMSprop are carried out on the whole stack and agree with ``torch.optim`` to
rounding. Any other optimizer of ``torch.optim`` runs as one instance a model.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from thalweg.errors import InputError
from thalweg.objective import Training


class StackOptimizer(Protocol):
    """Updates a stack in place; models come and go between steps."""

    def grow(self, models: int) -> None:
        """Append fresh state for that many models."""
        ...

    def keep(self, index: Tensor) -> None:
        """Keep the state of these rows only, in this order."""
        ...

    def step(self, stack: Tensor, gradients: Tensor) -> None:
        """Update every row of `[k, p]` in place."""
        ...


def stack_optimizer(training: Training, like: Tensor) -> StackOptimizer:
    """The optimizer that a recipe names.

    Args:
        training: names a class of ``torch.optim`` and its options.
        like: a tensor whose device and dtype the state takes, `[..., p]`.

    Raises:
        InputError: if torch has no such optimizer, it does not take the options, or it needs to
            evaluate the loss itself.
    """
    kind = getattr(torch.optim, training.optimizer, None)
    if not (inspect.isclass(kind) and issubclass(kind, torch.optim.Optimizer)):
        raise InputError(
            f"expected the name of an optimizer of torch.optim, got '{training.optimizer}'"
        )
    if kind is torch.optim.LBFGS:
        raise InputError(
            "expected an optimizer that works on minibatches, got 'LBFGS', which evaluates the "
            "loss itself: use SGD, Adam, ..."
        )
    options = {"lr": training.learning_rate, **training.options}
    # torch itself checks the options and fills in its defaults.
    try:
        defaults = kind([torch.zeros(1, requires_grad=True)], **options).defaults
    except (TypeError, ValueError) as error:
        raise InputError(
            f"expected options that torch.optim.{training.optimizer} takes, got {options}: {error}"
        ) from error
    decoupled = training.optimizer == "Adam" and defaults.get("decoupled_weight_decay")
    fused = _FUSED.get("AdamW" if decoupled else training.optimizer)
    if fused and not any(defaults.get(flag) for flag in _UNFUSED):
        return _Fused(*fused, defaults, like)
    return _OneEach(kind, options)


# Options that the fused updates leave to torch.
_UNFUSED = ("amsgrad", "maximize", "centered", "differentiable")

State = dict[str, Tensor]
Update = Callable[[Tensor, Tensor, State, Sequence[Tensor], Mapping[str, Any]], None]
"""In place, from (stack, gradients, state, factors `[k, 1]` of this step, options)."""

Factors = Callable[[Tensor, Mapping[str, Any]], tuple[Tensor, ...]]
"""Factors that depend on the step alone, from step numbers `[..., 1]` counted from 1."""

# Factors are worked out for so many steps at once: one by one they would cost more than a step of
# a small network.
_AHEAD = 64


class _Fused:
    """A fused update and its state, one row a model."""

    def __init__(
        self, update: Update, factors: Factors, options: Mapping[str, Any], like: Tensor
    ) -> None:
        self._update = update
        self._factors = factors
        self._options = options
        self._state: State = {}
        self._steps = torch.zeros(0, 1, dtype=torch.float64, device=like.device)
        # Factors of the steps to come, each `[_AHEAD, k, 1]`, and how many of them are used up.
        self._ahead: tuple[Tensor, ...] = ()
        self._used = _AHEAD

    def grow(self, models: int) -> None:
        self._settle()
        self._steps = torch.cat([self._steps, self._steps.new_zeros(models, 1)])
        self._state = {
            name: torch.cat([value, value.new_zeros(models, value.shape[1])])
            for name, value in self._state.items()
        }

    def keep(self, index: Tensor) -> None:
        self._settle()
        self._steps = self._steps[index]
        self._state = {name: value[index] for name, value in self._state.items()}

    def step(self, stack: Tensor, gradients: Tensor) -> None:
        if self._used == _AHEAD:
            ahead = torch.arange(1, _AHEAD + 1, dtype=torch.float64, device=self._steps.device)
            numbers = self._steps + ahead[:, None, None]
            factors = self._factors(numbers, self._options)
            self._ahead = tuple(factor.to(stack.dtype) for factor in factors)
            self._steps = self._steps + _AHEAD
            self._used = 0
        factors = [factor[self._used] for factor in self._ahead]
        self._used += 1
        decay = self._options.get("weight_decay", 0)
        if decay and self._update is not _adamw:
            gradients = gradients.add(stack, alpha=decay)
        self._update(stack, gradients, self._state, factors, self._options)

    def _settle(self) -> None:
        """Forget factors worked out ahead: models are about to come or go."""
        self._steps = self._steps - (_AHEAD - self._used)
        self._used = _AHEAD


def _of(state: State, name: str, like: Tensor) -> Tensor:
    if name not in state:
        state[name] = torch.zeros_like(like)
    return state[name]


def _adam_factors(steps: Tensor, options: Mapping[str, Any]) -> tuple[Tensor, ...]:
    """Of the update, and of eps, once the bias of the second moment is divided out."""
    beta1, beta2 = options["betas"]
    root = (1 - beta2**steps).sqrt()
    return root * (options["lr"] / (1 - beta1**steps)), root * options["eps"]


def _adam(
    stack: Tensor,
    gradients: Tensor,
    state: State,
    factors: Sequence[Tensor],
    options: Mapping[str, Any],
) -> None:
    """Kingma & Ba 2015, Algorithm 1, in the form at the end of its Section 2."""
    beta1, beta2 = options["betas"]
    size, eps = factors
    first, second = _of(state, "first", stack), _of(state, "second", stack)
    first.lerp_(gradients, 1 - beta1)
    second.mul_(beta2).addcmul_(gradients, gradients, value=1 - beta2)
    stack.addcdiv_(first * size, second.sqrt().add_(eps), value=-1)


def _adamw(
    stack: Tensor,
    gradients: Tensor,
    state: State,
    factors: Sequence[Tensor],
    options: Mapping[str, Any],
) -> None:
    """Loshchilov & Hutter 2019: the decay apart from the gradient."""
    stack.mul_(1 - options["lr"] * options["weight_decay"])
    _adam(stack, gradients, state, factors, options)


def _sgd_factors(steps: Tensor, options: Mapping[str, Any]) -> tuple[Tensor, ...]:
    """What is left of a gradient on its way into the momentum: the first one is not damped."""
    if not options["momentum"] or not options["dampening"]:
        return ()
    return (1 - options["dampening"] * (steps > 1).to(steps.dtype),)


def _sgd(
    stack: Tensor,
    gradients: Tensor,
    state: State,
    factors: Sequence[Tensor],
    options: Mapping[str, Any],
) -> None:
    """Gradient descent, with momentum as torch defines it: the first step is not damped."""
    if options["momentum"]:
        velocity = _of(state, "velocity", stack)
        velocity.mul_(options["momentum"])
        velocity.add_(gradients * factors[0] if factors else gradients)
        gradients = gradients + options["momentum"] * velocity if options["nesterov"] else velocity
    stack.sub_(gradients, alpha=options["lr"])


def _rmsprop(
    stack: Tensor,
    gradients: Tensor,
    state: State,
    factors: Sequence[Tensor],
    options: Mapping[str, Any],
) -> None:
    """Tieleman & Hinton 2012, with torch's momentum."""
    del factors  # it has none
    square = _of(state, "square", stack)
    square.mul_(options["alpha"]).addcmul_(gradients, gradients, value=1 - options["alpha"])
    update = gradients / square.sqrt().add_(options["eps"])
    if options["momentum"]:
        update = _of(state, "velocity", stack).mul_(options["momentum"]).add_(update)
    stack.sub_(update, alpha=options["lr"])


def _no_factors(steps: Tensor, options: Mapping[str, Any]) -> tuple[Tensor, ...]:
    del steps, options
    return ()


_FUSED: dict[str, tuple[Update, Factors]] = {
    "Adam": (_adam, _adam_factors), "AdamW": (_adamw, _adam_factors),
    "SGD": (_sgd, _sgd_factors), "RMSprop": (_rmsprop, _no_factors),
}  # fmt: skip


class _OneEach:
    """One instance of a torch optimizer a model: slower, and works for any of them."""

    def __init__(self, kind: type[torch.optim.Optimizer], options: Mapping[str, Any]) -> None:
        self._kind = kind
        self._options = options
        self._members: list[tuple[Tensor, torch.optim.Optimizer] | None] = []

    def grow(self, models: int) -> None:
        self._members += [None] * models

    def keep(self, index: Tensor) -> None:
        self._members = [self._members[i] for i in index.tolist()]

    def step(self, stack: Tensor, gradients: Tensor) -> None:
        for i, row in enumerate(stack):
            parameter, optimizer = self._members[i] or self._join(i, row)
            parameter.data.copy_(row)
            parameter.grad = gradients[i]
            optimizer.step()
            row.copy_(parameter.data)

    def _join(self, i: int, row: Tensor) -> tuple[Tensor, torch.optim.Optimizer]:
        parameter = row.detach().clone().requires_grad_()
        member = (parameter, self._kind([parameter], **self._options))
        self._members[i] = member
        return member
