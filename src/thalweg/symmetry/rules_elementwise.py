"""Rules of operations that work on single elements, rearrange them, or pool over places."""

from __future__ import annotations

import operator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thalweg.symmetry.labels import UNIFORM, Labelled, tensors_in
from thalweg.symmetry.walk import Call, Rule, fixed

# f(αx) = α f(x) for every α > 0: relu, and what only passes values on.
_HOMOGENEOUS_MODULES = (
    nn.ReLU, nn.LeakyReLU, nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d,
    nn.AlphaDropout, nn.RReLU,
)  # fmt: skip
_HOMOGENEOUS = (
    F.relu, F.relu_, torch.relu, torch.relu_, F.leaky_relu, F.leaky_relu_, torch.abs, torch.neg,
    F.dropout, F.dropout1d, F.dropout2d, torch.clone, torch.dropout, operator.neg, operator.pos,
    F.rrelu,
    "relu", "relu_", "abs", "neg", "contiguous", "clone", "detach", "float", "double", "to",
    "type_as",
)  # fmt: skip
_ELEMENTWISE_MODULES = (
    nn.Sigmoid, nn.Tanh, nn.GELU, nn.SiLU, nn.ELU, nn.SELU, nn.CELU, nn.Softplus, nn.Softsign,
    nn.Hardtanh, nn.ReLU6, nn.Hardswish, nn.Hardsigmoid, nn.Mish, nn.LogSigmoid, nn.Tanhshrink,
    nn.Softshrink, nn.Hardshrink,
)  # fmt: skip
_ELEMENTWISE = (
    torch.sigmoid, torch.sigmoid_, F.sigmoid, torch.tanh, torch.tanh_, F.tanh, F.gelu, F.silu,
    F.elu, F.selu, F.celu, F.softplus, F.softsign, F.hardtanh, F.relu6, F.hardswish,
    F.hardsigmoid, F.mish, F.logsigmoid, F.tanhshrink, F.softshrink, F.hardshrink, torch.exp,
    torch.log, torch.log1p, torch.expm1, torch.sqrt, torch.rsqrt, torch.square, torch.pow,
    torch.clamp, torch.sin, torch.cos, torch.erf, torch.reciprocal, operator.pow, torch.sign,
    "sigmoid", "sigmoid_", "tanh", "tanh_", "exp", "log", "log1p", "sqrt", "rsqrt", "square",
    "pow", "clamp", "clamp_", "clip", "sin", "cos", "erf", "reciprocal", "sign",
)  # fmt: skip
# Sums and maxima: a common scale of both passes through.
_SUMS = (
    torch.add, torch.sub, operator.add, operator.sub, operator.iadd, operator.isub, torch.maximum,
    torch.minimum, "add", "add_", "sub", "sub_", "maximum", "minimum", "__radd__", "__rsub__",
)  # fmt: skip
_PRODUCTS = (
    torch.mul, torch.div, torch.true_divide, operator.mul, operator.truediv, operator.imul,
    operator.itruediv, "mul", "mul_", "div", "div_", "__rmul__",
)  # fmt: skip
_REARRANGING = (
    torch.flatten, torch.reshape, torch.permute, torch.transpose, torch.squeeze, torch.unsqueeze,
    torch.cat, torch.concat, torch.stack, torch.chunk, torch.split, torch.unbind, torch.movedim,
    torch.swapaxes, torch.narrow, torch.select, torch.unflatten, torch.broadcast_to,
    torch.repeat_interleave, torch.tile, operator.getitem,
    "flatten", "reshape", "view", "permute", "transpose", "squeeze", "unsqueeze", "expand",
    "expand_as", "chunk", "split", "unbind", "movedim", "swapaxes", "narrow", "select",
    "unflatten", "repeat", "repeat_interleave", "reshape_as", "view_as", "t",
)  # fmt: skip
# Pooling by the number of axes that it runs over.
_POOLING_MODULES: dict[type, int] = {
    nn.MaxPool1d: 1, nn.MaxPool2d: 2, nn.MaxPool3d: 3, nn.AvgPool1d: 1, nn.AvgPool2d: 2,
    nn.AvgPool3d: 3, nn.AdaptiveAvgPool1d: 1, nn.AdaptiveAvgPool2d: 2, nn.AdaptiveAvgPool3d: 3,
    nn.AdaptiveMaxPool1d: 1, nn.AdaptiveMaxPool2d: 2, nn.ZeroPad1d: 1, nn.ZeroPad2d: 2,
    nn.ReflectionPad1d: 1, nn.ReflectionPad2d: 2, nn.ReplicationPad1d: 1, nn.ReplicationPad2d: 2,
    nn.UpsamplingNearest2d: 2, nn.UpsamplingBilinear2d: 2,
}  # fmt: skip
_POOLING: dict[object, int] = {
    F.max_pool1d: 1, F.max_pool2d: 2, F.max_pool3d: 3, F.avg_pool1d: 1, F.avg_pool2d: 2,
    F.avg_pool3d: 3, F.adaptive_avg_pool1d: 1, F.adaptive_avg_pool2d: 2, F.adaptive_max_pool1d: 1,
    F.adaptive_max_pool2d: 2, torch.max_pool1d: 1, torch.max_pool2d: 2, torch.avg_pool1d: 1,
    torch.adaptive_avg_pool1d: 1,
}  # fmt: skip
_REDUCTIONS = (torch.mean, torch.sum, torch.amax, torch.amin, "mean", "sum", "amax", "amin")
_FACTS = (getattr, len, "size", "dim", "ndimension", "numel", "new_zeros", "new_ones", "new_full",
          torch.zeros_like, torch.ones_like, torch.full_like)  # fmt: skip


def module_rules() -> dict[type, Rule]:
    """Rules by class of module."""
    return {
        **dict.fromkeys(_HOMOGENEOUS_MODULES, _passes),
        **dict.fromkeys(_ELEMENTWISE_MODULES, _elementwise),
        **dict.fromkeys((nn.Softmax, nn.LogSoftmax), _elementwise),
        **dict.fromkeys((nn.Flatten, nn.Unflatten), _rearranged),
        **{kind: _pooling(axes) for kind, axes in _POOLING_MODULES.items()},
    }


def function_rules() -> dict[object, Rule]:
    """Rules by function, or name of a tensor's method."""
    return {
        **dict.fromkeys(_HOMOGENEOUS, _passes),
        **dict.fromkeys(_ELEMENTWISE, _elementwise),
        **dict.fromkeys((F.softmax, F.log_softmax, torch.softmax, torch.log_softmax), _elementwise),
        **dict.fromkeys(("softmax", "log_softmax"), _elementwise),
        **dict.fromkeys(_SUMS, _sum),
        **dict.fromkeys(_PRODUCTS, _product),
        **dict.fromkeys(_REARRANGING, _rearranged),
        **{function: _pooling(axes) for function, axes in _POOLING.items()},
        **dict.fromkeys(_REDUCTIONS, _reduced),
        **dict.fromkeys(_FACTS, _fact),
        F.pad: _padded,
    }


def _alone(call: Call) -> bool:
    """Whether only the first argument is a tensor."""
    return len(list(tensors_in([call.args, dict(call.kwargs)]))) == 1


def _passes(call: Call) -> Any:
    labels = call.first.labels
    return Labelled(call.value, labels)


def _elementwise(call: Call) -> Any:
    """A softmax, too: it treats the elements of an axis alike."""
    if not _alone(call):
        return call.walk.fallback(call)
    labels = call.first.labels
    if call.walk.action == "rescale":
        call.classes.fix(labels)
        return fixed(call.value)
    return Labelled(call.value, labels)


def _meet(call: Call) -> Tensor:
    """Labels of both operands, identified."""
    left, right = (call.walk.labelled(a).labels for a in _operands(call))
    return call.classes.unite(left, right)


def _operands(call: Call) -> tuple[Any, Any]:
    return call.argument(0, "input"), call.argument(1, "other")


def _sum(call: Call) -> Any:
    return Labelled(call.value, _meet(call))


def _product(call: Call) -> Any:
    if call.walk.action == "rescale":
        left, right = _operands(call)
        if isinstance(right, int | float) or isinstance(left, int | float):
            kept = left if isinstance(right, int | float) else right
            over = isinstance(left, int | float) and call.run in (torch.div, operator.truediv)
            return call.walk.fallback(call) if over else Labelled(
                call.value, call.walk.labelled(kept).labels
            )  # fmt: skip
        for operand in (left, right):
            call.classes.fix(call.walk.labelled(operand).labels)
        return fixed(call.value)
    return Labelled(call.value, _meet(call))


def _rearranged(call: Call) -> Any:
    if isinstance(call.args[0], tuple | list) and call.run is operator.getitem:
        return call.value if not list(tensors_in(call.args)) else call.args[0][call.args[1]]
    args = tuple(_labelled(call, argument) for argument in call.args)
    labels = Call(call.walk, None, call.run, args, call.kwargs, None).same_on_labels()
    if isinstance(labels, tuple | list):
        return tuple(Labelled(v, part) for v, part in zip(call.value, labels, strict=True))
    return Labelled(call.value, labels)


def _labelled(call: Call, argument: Any) -> Any:
    """The network's own tensors among an argument get labels, as those that are joined."""
    if isinstance(argument, tuple | list):
        return type(argument)(_labelled(call, part) for part in argument)
    return call.walk.labelled(argument) if list(tensors_in(argument)) else argument


def _pooling(axes: int) -> Rule:
    def rule(call: Call) -> Any:
        if not isinstance(call.value, Tensor):  # indices of the maxima, too
            return call.walk.fallback(call)
        return _spread(call, -axes - 1)

    return rule


def _spread(call: Call, axis: int) -> Any:
    """The same units along one axis, whatever happens within the others behind it."""
    shape = call.first.labels.shape
    lead = call.first.labels.reshape(-1, *shape[axis:])
    units = call.classes.along(lead, axis)
    return Labelled(call.value, along_axis(units, axis, call.value.shape))


def along_axis(units: Tensor, axis: int, shape: torch.Size) -> Tensor:
    """Labels of a tensor whose units stand along one axis.

    Args:
        units: `[d]`.
        axis: of the tensor, of length `d`.
        shape: of the tensor.
    """
    view = [1] * len(shape)
    view[axis] = -1
    return units.reshape(view).expand(shape)


def _reduced(call: Call) -> Any:
    """A mean or a sum over axes along which the units are the same."""
    axes = call.argument(1, "dim")
    if axes is None or not isinstance(call.value, Tensor):
        return call.walk.fallback(call)
    labels = call.first.labels
    axes = [a % labels.ndim for a in ([axes] if isinstance(axes, int) else axes)]
    kept = [a for a in range(labels.ndim) if a not in axes]
    rows = labels.permute(*kept, *axes).flatten(len(kept)) if axes else labels[..., None]
    first = rows.amax(-1)
    call.classes.unite(first[..., None], rows)
    return Labelled(call.value, first.reshape(call.value.shape))


def _padded(call: Call) -> Any:
    mode, fill = call.argument(2, "mode", "constant"), call.argument(3, "value", 0)
    if mode != "constant" or (call.walk.action == "rescale" and fill):
        return call.walk.fallback(call)
    labels = F.pad(call.first.labels, call.argument(1, "pad"), value=UNIFORM)
    return Labelled(call.value, labels)


def _fact(call: Call) -> Any:
    """What depends on shapes alone."""
    if isinstance(call.value, Tensor):
        views = call.run is getattr  # such as `x.T`
        return call.walk.fallback(call) if views else call.walk.constant(call.value)
    return call.value
