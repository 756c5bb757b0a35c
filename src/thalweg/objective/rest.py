"""What is left of a network behind its first layer, run for many models: ways, one a class.

The counterpart of :mod:`thalweg.objective.strategies` for points of a line or plane, where the
first layer's output is a combination of a few responses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from thalweg.objective.affine import FirstLayer, Product
from thalweg.objective.strategies import Head

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
                    if not isinstance(step, Product):
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
        weights = coefficients.to(pieces[0].responses)
        sums = torch.zeros((), dtype=torch.float64, device=weights.device)
        with torch.no_grad():
            for piece in pieces:
                hidden = _combined(weights, piece.responses)
                if job.cut.window is not None:
                    hidden = hidden.amax(1)

                def one(own: dict[str, Tensor], seen: Tensor, piece: Piece = piece) -> Tensor:
                    output = functional_call(job.cut.rest, own, (seen, *piece.inputs))
                    return job.head(output, piece.target)

                sums = sums + vmap(one)(tensors, hidden)
        return sums


class Each:
    """One model after the other, each on all pieces: works for every network."""

    def prepare(self, responses: Tensor) -> Tensor:
        """See :class:`Rest`."""
        return responses.contiguous()

    def values(
        self, job: Job, tensors: dict[str, Tensor], coefficients: Tensor, pieces: Sequence[Piece]
    ) -> Tensor:
        """See :class:`Rest`."""
        run = _Run(job)
        rows = []
        with torch.inference_mode():
            for i, own in enumerate(coefficients.tolist()):
                named = {f"rest.{name}": tensor[i] for name, tensor in tensors.items()}
                rows.append(functional_call(run, named, (own, pieces)))
        return torch.stack(rows)


class _Run(nn.Module):
    """The rest on all pieces, as a module: its parameters are replaced once, not once a piece."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        self.rest = job.cut.rest
        self._job = job

    def forward(self, coefficients: list[float], pieces: Sequence[Piece]) -> Tensor:
        """Values `[q]` of one model."""
        outputs: list[Any] = []
        buffer: Tensor | None = None
        for piece in pieces:
            first, *others = piece.responses
            if buffer is None or buffer.shape != first.shape:
                buffer = torch.empty_like(first)
            # The first coefficient is one.
            torch.add(first, others[0], alpha=coefficients[1], out=buffer)
            for response, coefficient in zip(others[1:], coefficients[2:], strict=True):
                buffer.add_(response, alpha=coefficient)
            if self._job.cut.window is not None:
                outputs.append(self.rest(buffer.amax(0), *piece.inputs))
            else:
                outputs.append(self.rest(buffer, *piece.inputs))
                buffer = None  # it may live on in the output
        sizes = [len(piece.target) for piece in pieces]
        if all(isinstance(o, Tensor) and o.shape[:1] == (n,) for o, n in zip(outputs, sizes)):
            return self._job.head(torch.cat(outputs), torch.cat([p.target for p in pieces]))
        values = [self._job.head(o, p.target) for o, p in zip(outputs, pieces, strict=True)]
        return torch.stack(values).sum(0)


def _combined(coefficients: Tensor, responses: Tensor) -> Tensor:
    """`[k, 1 + m]` times `[1 + m, ...]`, one product."""
    product = coefficients @ responses.reshape(len(responses), -1)
    return product.reshape(len(coefficients), *responses.shape[1:])


def _each(head: Head, outputs: Tensor, target: Tensor) -> Tensor:
    return vmap(lambda output: head(output, target))(outputs)


RESTS: Mapping[str, Rest] = {"rest-stack": Stack(), "rest-vmap": Mapped(), "rest-loop": Each()}
