"""What is left of a network behind its first layer, run for many models: ways, one a class.

The counterpart of :mod:`thalweg.objective.strategies` for points of a line or plane, where the
first layer's output is a combination of a few responses.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.func import vmap

from thalweg.objective.affine import FirstLayer
from thalweg.objective.chain import Linear
from thalweg.objective.strategies import Head

# Bytes of products whose maximum is taken next: what a core's cache holds.
_BLOCK_BYTES = 1 << 21

Across = Callable[[Tensor, Tensor], Tensor]
"""From outputs `[k, classes, n]` of many models and a target `[n]` to values `[k, q]`."""


@dataclass(frozen=True, eq=False)
class Piece:
    """A chunk of data that fits the cache.

    Attributes:
        responses: `[1 + m, ...]`: the first layer's output at a point and along each direction.
        inputs: of the model.
        target: `[n]`.
    """

    responses: Tensor
    inputs: tuple[Tensor, ...]
    target: Tensor


@dataclass(frozen=True, eq=False)
class Job:
    """What is to be carried out for each model.

    Attributes:
        cut: the model.
        head: from the output of one model and the target to values `[q]`, sums over examples.
        across: the same for many models at once; None where the measures do not allow it.
    """

    cut: FirstLayer
    head: Head
    across: Across | None


class Rest(Protocol):
    """A way to run the rest; RuntimeError where it does not apply."""

    def prepare(self, responses: Tensor) -> Tensor:
        """Responses in the order of memory that suits this way."""
        ...

    def values(
        self, job: Job, tensors: dict[str, Tensor], coefficients: Tensor, pieces: Sequence[Piece]
    ) -> Tensor:
        """Values of models on some pieces.

        Args:
            job: what to carry out.
            tensors: parameters of the rest, in its names, `[k, ...]` each.
            coefficients: of the responses, `[k, 1 + m]`.
            pieces: of data.

        Returns:
            `[k, q]`, float64.
        """
        ...


class Stack:
    """A chain of linear layers and elementwise functions: activations `[k, features, n]`."""

    def prepare(self, responses: Tensor) -> Tensor:
        """See :class:`Rest`."""
        if responses.ndim != 3:
            raise RuntimeError("the first linear layer does not see flat inputs")
        return responses.transpose(1, 2).contiguous()

    def values(
        self, job: Job, tensors: dict[str, Tensor], coefficients: Tensor, pieces: Sequence[Piece]
    ) -> Tensor:
        """See :class:`Rest`."""
        if job.cut.chain is None:
            raise RuntimeError("the rest is no chain of linear layers")
        weights = coefficients.to(pieces[0].responses)
        sums = torch.zeros((), dtype=torch.float64, device=weights.device)
        with torch.inference_mode():
            for piece in pieces:
                hidden = _combined(weights, piece.responses)
                for step in job.cut.chain:
                    if not isinstance(step, Linear):
                        hidden = step(hidden)
                        continue
                    hidden = torch.bmm(tensors[step.weight], hidden)
                    if step.bias is not None:
                        hidden += tensors[step.bias][:, :, None]
                if job.across is not None:
                    sums = sums + job.across(hidden, piece.target)
                else:
                    sums = sums + _each(job.head, hidden.transpose(1, 2), piece.target)
        return sums


class Mapped:
    """Through ``torch.func.vmap``: every operation needs a batching rule."""

    def prepare(self, responses: Tensor) -> Tensor:
        """See :class:`Rest`."""
        return responses.contiguous()

    def values(
        self, job: Job, tensors: dict[str, Tensor], coefficients: Tensor, pieces: Sequence[Piece]
    ) -> Tensor:
        """See :class:`Rest`."""
        rest = _Replaceable(job.cut.rest)
        weights = coefficients.to(pieces[0].responses)
        sums = torch.zeros((), dtype=torch.float64, device=weights.device)
        with torch.no_grad():
            for piece in pieces:
                hidden = _pooled(job, weights, piece.responses)

                def one(own: dict[str, Tensor], seen: Tensor, piece: Piece = piece) -> Tensor:
                    return job.head(rest.run(own, seen, piece.inputs), piece.target)

                sums = sums + vmap(one)(tensors, hidden)
        return sums


class Each:
    """One model after the other on each piece: works for every network."""

    def prepare(self, responses: Tensor) -> Tensor:
        """See :class:`Rest`."""
        return responses.contiguous()

    def values(
        self, job: Job, tensors: dict[str, Tensor], coefficients: Tensor, pieces: Sequence[Piece]
    ) -> Tensor:
        """See :class:`Rest`."""
        rest = _Replaceable(job.cut.rest)
        weights = coefficients.to(pieces[0].responses)
        sums = torch.zeros((), dtype=torch.float64, device=weights.device)
        with torch.inference_mode():
            for piece in pieces:
                hidden = _pooled(job, weights, piece.responses)
                outputs = [
                    rest.run({name: t[i] for name, t in tensors.items()}, seen, piece.inputs)
                    for i, seen in enumerate(hidden)
                ]
                if job.across is not None and outputs[0].ndim == 2:
                    sums = sums + job.across(torch.stack(outputs).transpose(1, 2), piece.target)
                else:
                    sums = sums + torch.stack([job.head(o, piece.target) for o in outputs])
        return sums


class _Replaceable:
    """A copy of a module whose parameters are replaced in place, cheaper than a functional call."""

    def __init__(self, module: nn.Module) -> None:
        # The parameters are shared until they are replaced: they may be large.
        self._module = copy.deepcopy(module, {id(p): p for p in module.parameters()})
        first: dict[int, str] = {}
        self._slots: dict[str, list[tuple[dict[str, Any], str]]] = {}
        for name, parameter in self._module.named_parameters(remove_duplicate=False):
            owner, _, leaf = name.rpartition(".")
            slot = self._module.get_submodule(owner)._parameters, leaf
            self._slots.setdefault(first.setdefault(id(parameter), name), []).append(slot)

    def run(self, tensors: dict[str, Tensor], seen: Tensor, inputs: tuple[Tensor, ...]) -> Any:
        """Output at some parameters."""
        for name, tensor in tensors.items():
            for owner, leaf in self._slots[name]:
                owner[leaf] = tensor
        return self._module(seen, *inputs)


def _pooled(job: Job, coefficients: Tensor, responses: Tensor) -> Tensor:
    """What the rest sees, `[k, n, ...]`."""
    if job.cut.window is None:
        return _combined(coefficients, responses)
    # [1 + m, n, phases, ...]: products that fit the cache until their maximum is taken.
    _, examples, _, *shape = responses.shape
    each = responses[0, 0].numel() * responses.element_size() * len(coefficients)
    size = max(1, _BLOCK_BYTES // each)
    pooled = responses.new_empty((len(coefficients), examples, *shape))
    for block, into in zip(responses.split(size, dim=1), pooled.split(size, dim=1), strict=True):
        torch.amax(_combined(coefficients, block), dim=2, out=into)
    return pooled


def _combined(coefficients: Tensor, responses: Tensor) -> Tensor:
    """`[k, 1 + m]` times `[1 + m, ...]`, one product."""
    product = coefficients @ responses.flatten(1)
    return product.reshape(len(coefficients), *responses.shape[1:])


def _each(head: Head, outputs: Tensor, target: Tensor) -> Tensor:
    return vmap(lambda output: head(output, target))(outputs)


RESTS: Mapping[str, Rest] = {"rest-stack": Stack(), "rest-vmap": Mapped(), "rest-loop": Each()}
