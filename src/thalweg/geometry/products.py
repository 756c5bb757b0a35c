"""Products of the Hessian and the Gauss-Newton matrix of an objective with vectors.

The objective's training loss is differentiated as it is evaluated: dropout off, BatchNorm with the
statistics estimated at θ held fixed, no penalty; a mean over all examples of a split, chunk by
chunk. The graph of the gradient is made once a chunk and kept while memory allows: a product then
is one sweep back through it (Pearlmutter 1994). Attention runs through the kernel that has second
derivatives.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from thalweg.errors import InputError
from thalweg.objective import Objective
from thalweg.objective.criterion import total
from thalweg.objective.precision import exact_cudnn, without_cudnn
from thalweg.parameters import Source

Matrix = Literal["hessian", "gauss-newton"]
MATRICES = ("hessian", "gauss-newton")

# Examples of a chunk, whose activations fit the cache, and bytes of kept graphs.
_CHUNK = 256
_KEPT = 2 << 30


@dataclass(frozen=True, eq=False)
class _Graph:
    """What a product needs of one chunk.

    Attributes:
        product: from vectors by tensor to the chunk's part of the product, one tensor each.
        loss: the chunk's part of the mean.
        gradient: the chunk's part of the gradient, by tensor.
        held: bytes that the graph keeps.
    """

    product: Callable[[Sequence[Tensor]], list[Tensor]]
    loss: float
    gradient: list[Tensor]
    held: int


class Curvature:
    """The second derivatives of the training loss at one point, as a linear operator.

    Args:
        objective: model, loss and data.
        model: where: a module, state dict, flat vector `[p]` or checkpoint file.
        matrix: ``"hessian"``, or ``"gauss-newton"``: `Jᵀ H_out J`, which leaves out the curvature
            of the network itself.
        split: the data; default: the training split.
        only: names of the parameters of a block on the diagonal; default: all.
        double: compute in float64; otherwise in the objective's dtype.
        chunk: examples of a chunk.
        memory: bytes that graphs may hold between products.

    Attributes:
        size: of the matrix.
        products: how many products with a vector have been taken.

    Raises:
        InputError: if something does not fit.

    Example:
        >>> x, y = torch.eye(2), torch.zeros(2, 1)
        >>> objective = Objective(torch.nn.Linear(2, 1), torch.nn.functional.mse_loss, train=(x, y))
        >>> hessian = Curvature(objective, torch.zeros(3))
        >>> hessian.product(torch.tensor([1.0, 0.0, 0.0]))
        tensor([1., 0., 1.], dtype=torch.float64)
    """

    def __init__(
        self,
        objective: Objective,
        model: Source,
        *,
        matrix: Matrix = "hessian",
        split: str | None = None,
        only: Sequence[str] | None = None,
        double: bool = True,
        chunk: int = _CHUNK,
        memory: int = _KEPT,
    ) -> None:
        if matrix not in MATRICES:
            raise InputError(f"expected a matrix among {', '.join(MATRICES)}, got '{matrix}'")
        name = split if split is not None else objective.training.split
        if name not in objective.splits:
            raise InputError(
                f"expected a split among {', '.join(objective.splits)}, got '{name}': name one "
                "that the objective has data for"
            )
        theta = objective.theta(model)
        self._objective = objective.double() if double else objective
        self.layout = self._objective.layout
        self._state = self._objective.state_dict(theta.to(self.layout.dtype))
        self._matrix = matrix
        self._data = self._objective.splits[name]
        self._chunk = chunk
        self._memory = memory
        self.names = self.layout.names if only is None else tuple(only)
        unknown = [n for n in self.names if n not in self.layout.names]
        if unknown or not self.names:
            raise InputError(
                f"expected names of parameters, got {', '.join(unknown) or 'none'}: choose among "
                f"{', '.join(self.layout.names)}"
            )
        shapes = dict(zip(self.layout.names, self.layout.shapes, strict=True))
        self._shapes = [shapes[n] for n in self.names]
        self._sizes = [int(np.prod(shape, dtype=np.int64)) for shape in self._shapes]
        self.size = sum(self._sizes)
        self.products = 0
        self._graphs: list[_Graph] = []
        self._keeps: bool | None = None
        self._value: tuple[float, Tensor] | None = None
        # The recurrent kernels of oneDNN, for float32, and of cuDNN have no second derivative.
        recurrent = any(isinstance(m, nn.RNNBase) for m in self._objective.model.modules())
        fused = self.layout.dtype == torch.float32 or self.device.type == "cuda"
        self._plain = recurrent and fused

    @property
    def examples(self) -> int:
        """Over how many examples the loss is a mean."""
        return len(self._data)

    @property
    def device(self) -> torch.device:
        """Where products are computed."""
        return self._objective.device

    @property
    def loss(self) -> float:
        """The loss at this point."""
        return self._look()[0]

    @property
    def gradient(self) -> Tensor:
        """Of the loss, `[size]`."""
        return self._look()[1]

    def product(self, vectors: Tensor) -> Tensor:
        """The matrix times one vector, or several.

        Args:
            vectors: `[size]` or `[k, size]`.

        Returns:
            Of the same shape, in the operator's dtype.
        """
        rows = vectors.reshape(-1, self.size).to(self.device, self.layout.dtype)
        parts = [
            [part.reshape(s) for part, s in zip(row.split(self._sizes), self._shapes, strict=True)]
            for row in rows
        ]
        result = torch.zeros_like(rows)
        for graph in self._sweep():
            for i, part in enumerate(parts):
                with _second_derivatives(plain=self._plain):
                    result[i] += torch.cat([t.reshape(-1) for t in graph.product(part)])
        self.products += len(rows)
        return result.reshape(vectors.shape)

    def dense(self) -> Tensor:
        """The whole matrix, `[size, size]`: for small ones."""
        return self.product(torch.eye(self.size, dtype=self.layout.dtype))

    # ------------------------------------------------------------- graphs

    def _look(self) -> tuple[float, Tensor]:
        """Loss and gradient, taken in the first sweep over the data."""
        if self._value is None:
            for _ in self._sweep():
                pass
        if self._value is None:
            raise InputError("expected at least one example to differentiate, got none")
        return self._value

    def _sweep(self) -> Iterator[_Graph]:
        """Graphs of all chunks: kept, or made anew."""
        if self._keeps and self._graphs:
            yield from self._graphs
            return
        loss, gradient, held = 0.0, torch.zeros(0), 0
        for inputs, target in self._data.chunks(self._chunk):
            graph = self._make(inputs, target)
            if self._keeps is None:
                chunks = -(-len(self._data) // self._chunk)
                self._keeps = graph.held * chunks <= self._memory
            if self._keeps:
                self._graphs.append(graph)
            held += graph.held
            loss += graph.loss
            flat = torch.cat([g.reshape(-1) for g in graph.gradient])
            gradient = flat if not len(gradient) else gradient + flat
            yield graph
        if self._value is None:
            self._value = loss, gradient

    def _make(self, inputs: Any, target: Tensor) -> _Graph:
        arguments = inputs if isinstance(inputs, tuple) else (inputs,)
        leaves = [self._state[n].detach().clone().requires_grad_() for n in self.names]
        first = {n: self._state[n] for n in (*self.layout.names, *self._buffer_names())}
        tensors = {**first, **dict(zip(self.names, leaves, strict=True))}
        share = len(target) / len(self._data)
        with _second_derivatives(plain=self._plain), _counting() as held:
            output = functional_call(self._objective.model, tensors, arguments)
            product, value, gradient = (
                _hessian_of if self._matrix == "hessian" else _gauss_newton_of
            )(self._objective.loss, output, target, leaves, share)
        return _Graph(product, value, gradient, held[0])

    def _buffer_names(self) -> list[str]:
        return [n for n, _ in self._objective.model.named_buffers() if n in self._state]


def _mean(loss: Any, output: Any, target: Tensor, share: float) -> Tensor:
    """A chunk's part of the mean over all examples."""
    return total(loss(output, target), len(target)) * (share / len(target))


def _hessian_of(
    loss: Any, output: Any, target: Tensor, leaves: list[Tensor], share: float
) -> tuple[Callable[[Sequence[Tensor]], list[Tensor]], float, list[Tensor]]:
    value = _mean(loss, output, target, share)
    gradients = _grad([value], leaves, create_graph=True)
    moving = [i for i, g in enumerate(gradients) if g.requires_grad]

    def product(vectors: Sequence[Tensor]) -> list[Tensor]:
        if not moving:
            return [torch.zeros_like(leaf) for leaf in leaves]
        return _grad([gradients[i] for i in moving], leaves, [vectors[i] for i in moving])

    return product, float(value.detach()), [g.detach() for g in gradients]


def _gauss_newton_of(
    loss: Any, output: Any, target: Tensor, leaves: list[Tensor], share: float
) -> tuple[Callable[[Sequence[Tensor]], list[Tensor]], float, list[Tensor]]:
    """`Jᵀ H_out J v`; `J v` is the derivative of `Jᵀ w` by w, in the direction v."""
    if not isinstance(output, Tensor):
        raise InputError(
            f"expected one tensor as the model's output for a Gauss-Newton matrix, got "
            f"{type(output).__name__}: take the Hessian instead"
        )
    weights = torch.zeros_like(output, requires_grad=True)
    pulled = _grad([output], leaves, [weights], create_graph=True)
    free = output.detach().requires_grad_()
    value = _mean(loss, free, target, share)
    (slope,) = _grad([value], [free], create_graph=True)
    moving = [i for i, g in enumerate(pulled) if g.requires_grad]

    def product(vectors: Sequence[Tensor]) -> list[Tensor]:
        if not slope.requires_grad or not moving:
            return [torch.zeros_like(leaf) for leaf in leaves]
        pushed = _grad([pulled[i] for i in moving], [weights], [vectors[i] for i in moving])
        curved = _grad([slope], [free], pushed)
        return _grad([output], leaves, curved)

    gradient = _grad([output], leaves, [slope.detach()])
    return product, float(value.detach()), gradient


def _grad(
    outputs: list[Tensor],
    inputs: list[Tensor],
    vectors: Sequence[Tensor] | None = None,
    *,
    create_graph: bool = False,
) -> list[Tensor]:
    if not any(t.requires_grad for t in outputs):  # parameters that nothing uses
        return [torch.zeros_like(t) for t in inputs]
    found = torch.autograd.grad(
        outputs, inputs, vectors, retain_graph=True, create_graph=create_graph, allow_unused=True
    )
    pairs = zip(found, inputs, strict=True)
    return [torch.zeros_like(t) if g is None else g for g, t in pairs]


@contextlib.contextmanager
def _second_derivatives(*, plain: bool) -> Iterator[None]:
    """Kernels that can be differentiated twice, for attention and, if plain, recurrent layers."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.enable_grad())
        stack.enter_context(exact_cudnn)
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        if plain:
            stack.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")  # torch warns of its own flags of other devices
            stack.enter_context(torch.backends.mkldnn.flags(enabled=False))
            stack.enter_context(without_cudnn)
        yield


@contextlib.contextmanager
def _counting() -> Iterator[list[int]]:
    """Bytes that the graphs made within keep."""
    held, seen = [0], set()

    def pack(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in seen:
            seen.add(tensor.data_ptr())
            held[0] += tensor.nbytes
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield held
