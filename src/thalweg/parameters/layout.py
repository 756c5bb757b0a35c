"""Flat vectors and named tensors: the two views of the parameters θ of a model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from thalweg.errors import InputError

SUPPORTED_DTYPES = (torch.float32, torch.float64)


@dataclass(frozen=True)
class Layout:
    """Names, shapes and order of the trainable tensors that make up θ.

    θ is one flat vector of `p` numbers: every trainable tensor of the model, in the order of
    ``model.named_parameters()``, each in row-major order. Tied (shared) tensors count once, under
    their first name. A *stack* of `k` models is a `[k, p]` tensor.

    Attributes:
        names: one name a tensor, in order.
        shapes: one shape a tensor, in the same order.
        dtype: the one floating dtype of all of them.

    Example:
        >>> layout = Layout.of(nn.Linear(2, 3))
        >>> layout.size, layout.names
        (9, ('weight', 'bias'))
        >>> layout.unflatten(torch.zeros(5, 9))["weight"].shape
        torch.Size([5, 3, 2])
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    dtype: torch.dtype

    @classmethod
    def of(cls, model: nn.Module) -> Layout:
        """Read the layout off a model; frozen tensors (``requires_grad=False``) are left out.

        Args:
            model: any module; it is not changed.

        Raises:
            InputError: if nothing is trainable, or a trainable tensor is not float32 or float64,
                or both occur together.
        """
        for name, parameter in model.named_parameters():
            if isinstance(parameter, nn.parameter.UninitializedParameter):
                raise InputError(
                    f"expected parameters with shapes, got '{name}' of a lazy layer: run a batch "
                    "through the model first"
                )
        trainable = {n: p for n, p in model.named_parameters() if p.requires_grad}
        if not trainable:
            raise InputError(
                f"expected a model with trainable parameters, got {type(model).__name__} with "
                "none: set requires_grad=True on those that a path may move"
            )
        check_dtypes(trainable, "the model")
        return cls(
            names=tuple(trainable),
            shapes=tuple(tuple(p.shape) for p in trainable.values()),
            dtype=next(iter(trainable.values())).dtype,
        )

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of entries of each tensor, in order."""
        return tuple(math.prod(shape) for shape in self.shapes)

    @property
    def size(self) -> int:
        """Number `p` of entries of θ."""
        return sum(self.sizes)

    def unflatten(self, theta: Tensor) -> dict[str, Tensor]:
        """Split θ into named tensors, as views where memory allows.

        Args:
            theta: `[p]` or a stack `[..., p]`.

        Returns:
            Name to `[..., *shape]`.
        """
        parts = theta.split(self.sizes, dim=-1)
        return {
            name: part.reshape((*theta.shape[:-1], *shape))
            for name, shape, part in zip(self.names, self.shapes, parts, strict=True)
        }

    def flatten(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Join named tensors into one vector `[p]`, by name, whatever their order or strides."""
        return torch.cat([tensors[name].detach().reshape(-1) for name in self.names])

    def double(self) -> Layout:
        """The same layout in float64."""
        return Layout(self.names, self.shapes, torch.float64)


def check_dtypes(tensors: Mapping[str, Tensor], owner: str) -> None:
    """Refuse tensors that are not of one floating dtype among float32 and float64.

    Args:
        tensors: name to tensor.
        owner: whose they are, for the sentence.

    Raises:
        InputError: naming the first tensor of another dtype.
    """
    dtypes: dict[torch.dtype, str] = {}
    for name, tensor in tensors.items():
        if tensor.dtype not in SUPPORTED_DTYPES:
            raise InputError(
                f"expected float32 or float64 parameters, got {_short(tensor.dtype)} in '{name}' "
                f"of {owner}: convert with .float() or .double() first"
            )
        dtypes.setdefault(tensor.dtype, name)
    if len(dtypes) > 1:
        listed = ", ".join(f"{_short(dtype)} in '{name}'" for dtype, name in dtypes.items())
        raise InputError(
            f"expected one dtype for all parameters of {owner}, got {listed}: "
            "convert the whole model with .float() or .double()"
        )


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
