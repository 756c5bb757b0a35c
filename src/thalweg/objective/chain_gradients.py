"""Gradients of a stack of chains by hand: one sweep forward, one back, and no graph.

For small networks the time of a training step is the number of tensor operations, not arithmetic.
A hand-written sweep needs half as many as ``torch.autograd`` on the same products: derivatives of
the usual functions come from their outputs, those of the usual losses from the network's, and
activations are overwritten by what is propagated. Elementwise functions and losses without a
known derivative go through ``torch.autograd``, alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn

from thalweg.objective.chain import (
    Elementwise,
    Known,
    Linear,
    Step,
    before_first_layer,
    chain_of,
    first_layer,
    trainable,
)
from thalweg.objective.tails import Tail
from thalweg.parameters import Layout


@dataclass
class _Kept:
    """What the way back needs of one step: its inputs, or its outputs where those suffice."""

    step: Step
    tensor: Tensor
    output: Tensor | None = None


def chain_gradients(
    model: nn.Module,
    layout: Layout,
    stack: Tensor,
    inputs: Tensor,
    target: Tensor,
    tail: Tail,
    *,
    closed: bool = False,
) -> tuple[Tensor, Tensor]:
    """Gradients of a loss of each model of a stack.

    Args:
        model: the architecture, a chain.
        layout: of the rows.
        stack: `[k, p]`.
        inputs: `[n, ...]`, the same for all models.
        target: `[n, ...]`.
        tail: the loss and its derivative.
        closed: whether the tail does without ``torch.autograd``.

    Returns:
        Gradients `[k, p]` and losses `[k]`.

    Raises:
        RuntimeError: if the model is no chain, or has no derivative.

    Example:
        >>> from thalweg.objective.tails import closed_form
        >>> model = nn.Sequential(nn.Linear(1, 1, bias=False))
        >>> x, y = torch.ones(4, 1), torch.zeros(4, 1)
        >>> tail = closed_form(nn.functional.mse_loss, y)
        >>> chain_gradients(model, Layout.of(model), torch.tensor([[1.0], [3.0]]), x, y, tail)
        (tensor([[2.],
                [6.]]), tensor([1., 9.]))
    """
    inputs, steps = before_first_layer(chain_of(model), inputs)
    # Without a single call of autograd its bookkeeping, an eighth of the time, can go as well.
    known = closed and all(not isinstance(step, Elementwise) or step.known for step in steps)
    with torch.inference_mode() if known else torch.no_grad():
        tensors = _views(layout, stack.detach())
        hidden, kept = _forward(steps, tensors, inputs)
        losses, delta = tail(hidden, target)
        parts = _backward(kept, tensors, inputs, delta)
    with torch.no_grad():  # what leaves is an ordinary tensor again
        return _joined(parts, layout, stack), losses.clone()


@lru_cache(maxsize=64)
def _places(layout: Layout) -> list[tuple[str, tuple[int, ...], tuple[int, ...], int]]:
    """Name, shape, strides and offset of each tensor in a row."""
    places, offset = [], 0
    for name, shape, size in zip(layout.names, layout.shapes, layout.sizes, strict=True):
        strides = tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))
        places.append((name, shape, strides, offset))
        offset += size
    return places


def _views(layout: Layout, stack: Tensor) -> dict[str, Tensor]:
    """As :meth:`Layout.unflatten`, one operation a tensor."""
    if stack.stride(1) != 1:
        return layout.unflatten(stack)
    rows, step, start = len(stack), stack.stride(0), stack.storage_offset()
    return {
        name: stack.as_strided((rows, *shape), (step, *strides), start + offset)
        for name, shape, strides, offset in _places(layout)
    }


def _forward(
    steps: list[Step], tensors: dict[str, Tensor], inputs: Tensor
) -> tuple[Tensor, list[_Kept]]:
    """Outputs `[k, features, n]`, and what the way back needs of each step."""
    hidden, kept = inputs, []
    for i, step in enumerate(steps):
        if isinstance(step, Linear):
            kept.append(_Kept(step, hidden))
            weight = trainable(tensors, step.weight)
            if i == 0:
                hidden = first_layer(weight, inputs)
                if step.bias is not None:
                    hidden += trainable(tensors, step.bias)[:, :, None]
            elif step.bias is None:
                hidden = torch.bmm(weight, hidden)
            else:
                hidden = torch.baddbmm(trainable(tensors, step.bias)[:, :, None], weight, hidden)
        elif isinstance(step, Elementwise):
            if step.known:
                # What is overwritten is the product of a layer, which nobody else needs, unless
                # two such functions follow each other.
                mine = bool(kept) and isinstance(kept[-1].step, Linear)
                hidden = _apply(step.known, hidden, in_place=mine)
                kept.append(_Kept(step, hidden))
            else:
                before = hidden.detach().requires_grad_()
                with torch.enable_grad():
                    own = before.clone() if getattr(step.function, "inplace", False) else before
                    after = step(own)
                kept.append(_Kept(step, before, after))
                hidden = after.detach()
    return hidden, kept


def _backward(
    kept: list[_Kept], tensors: dict[str, Tensor], inputs: Tensor, delta: Tensor
) -> dict[str, Tensor]:
    """Gradients by name, each `[k, ...]`, from those with respect to the outputs."""
    parts: dict[str, Tensor] = {}

    def add(name: str, gradient: Tensor) -> None:
        # A layer that is called twice has two.
        parts[name] = parts[name] + gradient.reshape_as(parts[name]) if name in parts else gradient

    for i in range(len(kept) - 1, -1, -1):
        step, tensor = kept[i].step, kept[i].tensor
        if isinstance(step, Elementwise):
            after = kept[i].output
            if step.known:
                delta = _pull_back(step.known, delta, tensor)
            elif after is not None:
                (delta,) = torch.autograd.grad(after, tensor, delta)
        elif isinstance(step, Linear):
            if step.bias is not None:
                add(step.bias, delta.sum(2))
            if i == 0:
                models, features, examples = delta.shape
                add(step.weight, torch.mm(delta.reshape(models * features, examples), inputs))
            else:
                add(step.weight, torch.bmm(delta, tensor.transpose(1, 2)))
                weight = tensors[step.weight].transpose(1, 2)
                # With one output the product is an outer one, which is faster elementwise.
                delta = weight * delta if delta.shape[1] == 1 else torch.bmm(weight, delta)
    return parts


def _joined(parts: dict[str, Tensor], layout: Layout, stack: Tensor) -> Tensor:
    """Gradients `[k, p]`; zero where the chain does not use a parameter."""
    rows = len(stack)
    return torch.cat(
        [
            parts[name].reshape(rows, -1) if name in parts else stack.new_zeros(rows, size)
            for name, size in zip(layout.names, layout.sizes, strict=True)
        ],
        dim=1,
    )


def _apply(known: Known, hidden: Tensor, *, in_place: bool) -> Tensor:
    function = getattr(torch, f"{known}_" if in_place else known)
    return function(hidden)


def _pull_back(known: Known, delta: Tensor, output: Tensor) -> Tensor:
    """The gradient before a function from that after it, by the function's output."""
    if known == "sigmoid":
        return torch.ops.aten.sigmoid_backward(delta, output)
    if known == "tanh":
        return torch.ops.aten.tanh_backward(delta, output)
    return torch.ops.aten.threshold_backward(delta, output, 0)
