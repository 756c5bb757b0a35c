"""Operations that only move, copy or select elements: exact on all parts of a model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from thalweg.certify.origins import Origin
from thalweg.certify.taylor import (
    TaylorModel,
    UnsupportedOperation,
    as_model,
    moved,
    rule,
    structural,
)

# Same name and arguments as tensor methods; `view` becomes `reshape`, since the parts of a model
# need not have the strides that the tensor would have.
_METHODS = {
    "view": "reshape", "reshape": "reshape", "_unsafe_view": "reshape", "flatten": "flatten",
    "unflatten": "unflatten", "permute": "permute", "transpose": "transpose",
    "swapaxes": "swapaxes", "swapdims": "swapdims", "movedim": "movedim", "moveaxis": "moveaxis",
    "t": "t", "squeeze": "squeeze", "unsqueeze": "unsqueeze", "expand": "expand",
    "broadcast_to": "broadcast_to", "repeat": "repeat", "tile": "tile", "flip": "flip",
    "roll": "roll", "narrow": "narrow", "select": "select", "index_select": "index_select",
    "gather": "gather", "repeat_interleave": "repeat_interleave", "unfold": "unfold",
    "tril": "tril", "triu": "triu", "diagonal": "diagonal", "diag": "diag", "ravel": "ravel",
    "__getitem__": "__getitem__", "unbind": "unbind", "split": "split", "chunk": "chunk",
    "tensor_split": "tensor_split", "split_with_sizes": "split_with_sizes",
    "contiguous": "contiguous", "clone": "clone", "detach": "detach",
}  # fmt: skip


# Each keeps the order of all numbers; with it, where their remainders come from.
_REGROUPING = {"reshape", "flatten", "unflatten", "contiguous", "clone", "detach", "ravel"}


def _regrouped(x: TaylorModel, out: TaylorModel) -> Origin | None:
    """The origin of the same numbers in another shape, examples kept apart."""
    origin, before, after = x.origin, x.value.shape[1:], out.value.shape[1:]
    if origin is None or before == after:
        return origin
    return replace(
        origin,
        pull=lambda g, owner: origin.pull(g.reshape(len(g), *before), owner),
        fresh=lambda owner: origin.fresh(owner).reshape(len(owner), *after),
    )


def _register(name: str, method: str) -> None:
    @rule(name)
    def apply(x: Any, *args: Any, **kwargs: Any) -> Any:
        if any(isinstance(arg, TaylorModel) for arg in (*args, *kwargs.values())):
            raise UnsupportedOperation(name, "an index that depends on the parameters")

        def move(part: Tensor) -> Any:
            return getattr(part, method)(*args, **kwargs)

        def first_order(x: TaylorModel) -> Any:
            out = structural(move, x)
            if x.origin is not None and method in _REGROUPING and len(out.value) == len(x.value):
                out.origin = _regrouped(x, out)
            return out

        return moved(as_model(x), move, first_order)

    apply.__doc__ = f"``Tensor.{name}``: exact."


for _name, _method in _METHODS.items():
    _register(_name, _method)


@rule("T", "mT", "H", "mH")
def transposed(x: Any) -> TaylorModel:
    """Transpose of the last two dimensions."""
    return structural(lambda part: part.transpose(-2, -1) if part.ndim > 1 else part, x)


@rule("__iter__")
def iterate(x: Any) -> Any:
    """Iteration over the first dimension."""
    return iter(structural(lambda part: part.unbind(0), x))


@rule("expand_as", "view_as", "reshape_as")
def expand_as(x: Any, other: Any) -> TaylorModel:
    """Expand or view like another tensor."""
    same = x.value.numel() == other.numel()
    shape = tuple(other.shape)
    return structural(lambda p: p.reshape(shape) if same else p.expand(shape), x)


@rule("data", "double", "cpu", "dropout", "alpha_dropout", "dropout1d", "dropout2d", "dropout3d",
      "feature_dropout", "identity", "requires_grad_", "type_as")  # fmt: skip
def identity(x: Any, *args: Any, **kwargs: Any) -> Tensor:
    """Operations that change nothing in evaluation: dropout off, conversions to float64."""
    if not isinstance(x, TaylorModel):
        return x.to(torch.float64)
    training = kwargs.get("training", args[1] if len(args) > 1 and args[1] is True else False)
    if training and kwargs.get("p", args[0] if args else 0.5):
        raise UnsupportedOperation("dropout", "in training mode")
    return x


@rule("to", "type", "float")
def convert(x: Any, *args: Any, **kwargs: Any) -> Tensor:
    """Conversions: the claim is about exact arithmetic, so that only float64 is meant."""
    if not isinstance(x, TaylorModel):  # a constant made like a model: `x.to(model)`
        return x.to(torch.float64)
    wanted = [a for a in (*args, *kwargs.values()) if isinstance(a, torch.dtype)]
    if any(not dtype.is_floating_point for dtype in wanted):
        raise UnsupportedOperation("to", f"conversion to {wanted[0]}")
    return x


@rule("cat", "concat", "concatenate")
def cat(tensors: Any, dim: int = 0) -> TaylorModel:
    """Concatenation."""
    return _join(tensors, lambda parts: torch.cat(parts, dim))


@rule("stack")
def stack(tensors: Any, dim: int = 0) -> TaylorModel:
    """Stacking."""
    return _join(tensors, lambda parts: torch.stack(parts, dim))


def _join(tensors: Any, function: Any) -> TaylorModel:
    models = [as_model(tensor) for tensor in tensors]

    def join(name: str) -> Tensor | None:
        parts = [getattr(model, name) for model in models]
        if all(part is None for part in parts):
            return None
        filled = [
            torch.zeros_like(model.value) if part is None else part
            for part, model in zip(parts, models, strict=True)
        ]
        return function(filled)

    return TaylorModel(function([m.value for m in models]), join("slope"), join("remainder"))


@rule("pad")
def pad(x: Any, pad: Any, mode: str = "constant", value: float | None = None) -> TaylorModel:
    """Padding: by a constant, or by elements of the tensor itself."""
    x = as_model(x)

    def padded(part: Tensor | None, fill: float) -> Tensor | None:
        if part is None:
            return None
        if mode == "constant":
            return F.pad(part, pad, mode, fill)
        return F.pad(part, pad, mode)

    out = padded(x.value, value or 0.0)
    if out is None:
        raise UnsupportedOperation("pad")
    return TaylorModel(out, padded(x.slope, 0.0), padded(x.remainder, 0.0))


@rule("masked_fill")
def masked_fill(x: Any, mask: Tensor, value: Any) -> TaylorModel:
    """Constant where the mask is set."""
    if isinstance(mask, TaylorModel) or isinstance(value, TaylorModel):
        raise UnsupportedOperation("masked_fill", "a mask or a filling that depends on parameters")
    x = as_model(x)
    fill = float(value)

    def filled(part: Tensor | None, content: float) -> Tensor | None:
        return None if part is None else part.masked_fill(mask, content)

    return TaylorModel(x.value.masked_fill(mask, fill), filled(x.slope, 0), filled(x.remainder, 0))


@rule("where")
def where(condition: Tensor, x: Any, y: Any) -> TaylorModel:
    """Selection by a constant condition."""
    if isinstance(condition, TaylorModel):
        raise UnsupportedOperation("where", "a condition that depends on the parameters")
    a, b = as_model(x), as_model(y)

    def choose(p: Tensor | None, q: Tensor | None) -> Tensor | None:
        if p is None and q is None:
            return None
        p = torch.zeros_like(a.value) if p is None else p
        q = torch.zeros_like(b.value) if q is None else q
        return torch.where(condition, p, q)

    value = torch.where(condition, a.value, b.value)
    return TaylorModel(value, choose(a.slope, b.slope), choose(a.remainder, b.remainder))


def _register_constant(name: str) -> None:
    @rule(name)
    def apply(x: Any, *args: Any, **kwargs: Any) -> Tensor:
        kwargs = {"dtype": torch.float64, **kwargs}
        if name.endswith("_like"):
            return getattr(torch, name)(as_model(x).value, *args, **kwargs)
        return getattr(as_model(x).value, name)(*args, **kwargs)

    apply.__doc__ = f"``{name}``: a constant of the model's shape or type."


for _name in ("zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full",
              "new_tensor"):  # fmt: skip
    _register_constant(_name)
