"""How a stack of models is evaluated and differentiated: same result, different speed.

A strategy takes a function of one model's named tensors and one chunk of data, and carries it
out for a stack `[k, p]`. Which one is faster depends on the network (small dense ones gain from
``vmap``, convolutions lose), so :mod:`thalweg.objective.planning` measures before it chooses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.func import vmap

from thalweg.objective.splits import Inputs
from thalweg.parameters import Layout

Function = Callable[[dict[str, Tensor], Inputs, Tensor], Tensor]
"""From named tensors of one model and a chunk of data to values `[q]`; the first one is the loss
where a gradient is taken."""

Buffers = Sequence[dict[str, Tensor]]
"""Named buffers that depend on θ, one dictionary a model; empty where there are none."""


class Strategy(Protocol):
    """A way to carry out a function of one model on a stack of them."""

    name: str

    def values(
        self,
        function: Function,
        layout: Layout,
        stack: Tensor,
        buffers: Buffers,
        inputs: Inputs,
        target: Tensor,
    ) -> Tensor:
        """Values `[k, q]` of a stack `[k, p]` on one chunk, without a graph."""
        ...

    def gradients(
        self, function: Function, layout: Layout, stack: Tensor, inputs: Inputs, target: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Gradients `[k, p]` of the first value, and the values `[k, q]`."""
        ...


class Loop:
    """One model after the other: works for every module."""

    name = "loop"

    def values(
        self,
        function: Function,
        layout: Layout,
        stack: Tensor,
        buffers: Buffers,
        inputs: Inputs,
        target: Tensor,
    ) -> Tensor:
        """See :class:`Strategy`."""
        with torch.inference_mode():
            return torch.stack([
                function({**layout.unflatten(row), **(buffers[i] if buffers else {})},
                         inputs, target)
                for i, row in enumerate(stack)
            ])  # fmt: skip

    def gradients(
        self, function: Function, layout: Layout, stack: Tensor, inputs: Inputs, target: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See :class:`Strategy`."""
        gradients, values = [], []
        for row in stack:
            theta = row.detach().requires_grad_()
            value = function(layout.unflatten(theta), inputs, target)
            gradients.append(torch.autograd.grad(value[0], theta)[0])
            values.append(value.detach())
        return torch.stack(gradients), torch.stack(values)


class Vmap:
    """All models at once, through ``torch.func.vmap``: every operation needs a batching rule."""

    name = "vmap"

    def values(
        self,
        function: Function,
        layout: Layout,
        stack: Tensor,
        buffers: Buffers,
        inputs: Inputs,
        target: Tensor,
    ) -> Tensor:
        """See :class:`Strategy`."""
        together = {
            name: torch.stack([own[name] for own in buffers])
            for name in (buffers[0] if buffers else {})
        }
        with torch.no_grad():
            return vmap(lambda tensors: function(tensors, inputs, target))(
                {**layout.unflatten(stack), **together}
            )

    def gradients(
        self, function: Function, layout: Layout, stack: Tensor, inputs: Inputs, target: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See :class:`Strategy`."""
        thetas = stack.detach().requires_grad_()
        # The models share nothing, so the gradient of the sum is the stack of the gradients;
        # plain autograd around one vmap costs less than vmap around a functional gradient.
        values = vmap(lambda tensors: function(tensors, inputs, target), randomness="different")(
            layout.unflatten(thetas)
        )
        (gradients,) = torch.autograd.grad(values[:, 0].sum(), thetas)
        return gradients, values.detach()


STRATEGIES: dict[str, Strategy] = {"loop": Loop(), "vmap": Vmap()}
