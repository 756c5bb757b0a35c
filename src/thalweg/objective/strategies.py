"""How a stack of models is evaluated and differentiated: same result, different speed.

A strategy runs a model for every row of a stack `[k, p]` on one chunk of data and reduces each
output by a *head*. Which one is faster depends on the network (dense ones gain from products
over the whole stack, convolutions lose), so :mod:`thalweg.objective.planning` measures before it
chooses.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise
from threading import Barrier
from typing import Any, Protocol, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from thalweg.objective.chain import forward_chain
from thalweg.objective.chain_gradients import chain_gradients
from thalweg.objective.criterion import Loss
from thalweg.objective.splits import Inputs
from thalweg.objective.tails import closed_form, over_models, through_autograd
from thalweg.parameters import Layout

Head = Callable[[Any, Tensor], Tensor]
"""From the output of one model and the target of a chunk to values `[q]`; the first one is the
loss where a gradient is taken."""

Result = TypeVar("Result")

Buffers = Sequence[dict[str, Tensor]]
"""Named buffers that depend on θ, one dictionary a model; empty where there are none."""


@dataclass(frozen=True, eq=False)
class Work:
    """What is to be carried out for each row of a stack.

    Attributes:
        model: whose parameters are replaced by the row's.
        layout: names and shapes of the row.
        head: what is taken from the model's output.
        loss: where the head is the mean of a loss and nothing else, that loss: its derivative may
            be known.
    """

    model: nn.Module
    layout: Layout
    head: Head
    loss: Loss | None = None

    def one(self, tensors: dict[str, Tensor], inputs: Inputs, target: Tensor) -> Tensor:
        """Values `[q]` of one model."""
        return self.head(functional_call(self.model, tensors, as_tuple(inputs)), target)


class Strategy(Protocol):
    """A way to carry out work on a stack of models; RuntimeError where it does not apply."""

    def values(
        self, work: Work, stack: Tensor, buffers: Buffers, inputs: Inputs, target: Tensor
    ) -> Tensor:
        """Values `[k, q]` of a stack `[k, p]` on one chunk, without a graph."""
        ...

    def gradients(
        self, work: Work, stack: Tensor, inputs: Inputs, target: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Gradients `[k, p]` of the first value, and the values `[k, q]`."""
        ...


class Loop:
    """One model after the other: works for every module."""

    def values(
        self, work: Work, stack: Tensor, buffers: Buffers, inputs: Inputs, target: Tensor
    ) -> Tensor:
        """See :class:`Strategy`."""
        with torch.inference_mode():
            values = []
            for i, row in enumerate(stack):
                own = buffers[i] if buffers else {}
                values.append(work.one({**work.layout.unflatten(row), **own}, inputs, target))
            return torch.stack(values)

    def gradients(
        self, work: Work, stack: Tensor, inputs: Inputs, target: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See :class:`Strategy`."""
        gradients, values = [], []
        for row in stack:
            theta = row.detach().requires_grad_()
            value = work.one(work.layout.unflatten(theta), inputs, target)
            gradients.append(torch.autograd.grad(value[0], theta)[0])
            values.append(value.detach())
        return torch.stack(gradients), torch.stack(values)


class Threads:
    """The loop, several models at a time, each in a thread of its own with one thread of torch.

    For work whose operations are too small to keep all cores busy, such as convolutions on few
    examples. As many threads as torch would use itself, so that cores are never asked for twice;
    where that is one, or the device is no CPU, it is the plain loop.
    """

    def __init__(self) -> None:
        self._loop = Loop()
        self._workers: ThreadPoolExecutor | None = None
        # functional_call swaps the parameters of a module while it runs: a module each.
        self._copies: WeakKeyDictionary[nn.Module, list[nn.Module]] = WeakKeyDictionary()

    def values(
        self, work: Work, stack: Tensor, buffers: Buffers, inputs: Inputs, target: Tensor
    ) -> Tensor:
        """See :class:`Strategy`."""

        def part(own: Work, rows: slice) -> Tensor:
            return self._loop.values(own, stack[rows], buffers[rows], inputs, target)

        return torch.cat(self._each(work, stack, part))

    def gradients(
        self, work: Work, stack: Tensor, inputs: Inputs, target: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See :class:`Strategy`."""

        def part(own: Work, rows: slice) -> tuple[Tensor, Tensor]:
            return self._loop.gradients(own, stack[rows], inputs, target)

        before = torch.get_rng_state()
        parts = self._each(work, stack, part)
        if len(parts) > 1 and not torch.equal(before, torch.get_rng_state()):
            # Whose turn it is in the one generator would decide the result.
            raise RuntimeError("the model draws random numbers, which threads would mix up")
        gradients, values = zip(*parts, strict=True)
        return torch.cat(gradients), torch.cat(values)

    def _each(
        self, work: Work, stack: Tensor, part: Callable[[Work, slice], Result]
    ) -> list[Result]:
        """Carry out even parts of a stack at once."""
        count = min(torch.get_num_threads(), len(stack))
        if count < 2 or stack.device.type != "cpu":
            return [part(work, slice(None))]
        if self._workers is None:
            threads = torch.get_num_threads()
            self._workers = ThreadPoolExecutor(
                threads, "thalweg", initializer=torch.set_num_threads, initargs=(1,)
            )
            # Start them all, and then undo what their starting did to threads still to come.
            started = Barrier(threads)
            list(self._workers.map(lambda _: started.wait(), range(threads)))
            torch.set_num_threads(threads)
        copies = self._copies.setdefault(work.model, [])
        while len(copies) < count:
            copies.append(copy.deepcopy(work.model))
        ends = [len(stack) * i // count for i in range(count + 1)]
        jobs = [
            self._workers.submit(part, replace(work, model=own), slice(start, end))
            for own, (start, end) in zip(copies, pairwise(ends), strict=False)
        ]
        return [job.result() for job in jobs]


class Vmap:
    """All models in one graph, through ``torch.func.vmap``: every operation needs a batching rule.

    The models share nothing, so that the gradient of the sum of losses is all their gradients.
    """

    def values(
        self, work: Work, stack: Tensor, buffers: Buffers, inputs: Inputs, target: Tensor
    ) -> Tensor:
        """See :class:`Strategy`."""
        with torch.no_grad():
            return self._forward(work, stack, buffers, inputs, target)

    def gradients(
        self, work: Work, stack: Tensor, inputs: Inputs, target: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See :class:`Strategy`."""
        thetas = stack.detach().requires_grad_()
        values = self._forward(work, thetas, [], inputs, target)
        (gradients,) = torch.autograd.grad(values[:, 0].sum(), thetas)
        return gradients, values.detach()

    def _forward(
        self, work: Work, stack: Tensor, buffers: Buffers, inputs: Inputs, target: Tensor
    ) -> Tensor:
        names = buffers[0] if buffers else {}
        together = {name: torch.stack([own[name] for own in buffers]) for name in names}
        # Dropout must not strike the same units in all models.
        mapped = vmap(lambda tensors: work.one(tensors, inputs, target), randomness="different")
        return mapped({**work.layout.unflatten(stack), **together})


class Dense:
    """Chains of linear layers and elementwise functions: one product a layer for all models."""

    def values(
        self, work: Work, stack: Tensor, buffers: Buffers, inputs: Inputs, target: Tensor
    ) -> Tensor:
        """See :class:`Strategy`."""
        if buffers or isinstance(inputs, tuple):
            raise RuntimeError("a chain of linear layers has one input and no buffers")
        with torch.no_grad():
            outputs = forward_chain(work.model, work.layout.unflatten(stack), inputs)
            return over_models(work.head, outputs, target)

    def gradients(
        self, work: Work, stack: Tensor, inputs: Inputs, target: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See :class:`Strategy`."""
        if isinstance(inputs, tuple):
            raise RuntimeError("a chain of linear layers has one input")
        closed = closed_form(work.loss, target) if work.loss else None
        gradients, losses = chain_gradients(
            work.model, work.layout, stack, inputs, target,
            closed or through_autograd(work.head), closed=closed is not None,
        )  # fmt: skip
        return gradients, losses[:, None]


STRATEGIES: dict[str, Strategy] = {
    "loop": Loop(), "vmap": Vmap(), "dense": Dense(), "threads": Threads(),
}  # fmt: skip


def as_tuple(inputs: Inputs) -> tuple[Tensor, ...]:
    """Arguments of a model's forward."""
    return inputs if isinstance(inputs, tuple) else (inputs,)
