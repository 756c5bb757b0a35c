"""Rules of layers: what stands along the axes of their weights."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thalweg.symmetry.labels import FIXED, Labelled, Own
from thalweg.symmetry.rules_elementwise import along_axis
from thalweg.symmetry.walk import Call, Rule, fixed

_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_INSTANCE_NORMS = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)


def module_rules() -> dict[type, Rule]:
    """Rules by class of module."""
    return {
        nn.Linear: _linear,
        **{layer: _convolution(axes) for axes, layer in enumerate((nn.Conv1d, nn.Conv2d), 1)},
        **{
            layer: _transposed(axes)
            for axes, layer in enumerate((nn.ConvTranspose1d, nn.ConvTranspose2d), 1)
        },
        nn.Embedding: _embedding,
        **dict.fromkeys((*_BATCH_NORMS, *_INSTANCE_NORMS), _channel_norm),
        nn.LayerNorm: _layer_norm,
        nn.GroupNorm: _group_norm,
        nn.PReLU: _prelu,
    }


def function_rules() -> dict[object, Rule]:
    """Rules by function, for weights that the model's own forward hands over."""
    return {F.linear: _linear, F.conv1d: _convolution(1), F.conv2d: _convolution(2)}


def _weights(call: Call) -> tuple[Own | None, Own | None]:
    """Weight and bias, of a module or among the arguments."""
    if call.module is not None:
        own = call.walk.own
        return own(call.module.weight), own(call.module.bias)
    return call.argument(1, "weight"), call.argument(2, "bias")


def _usable(weight: object, bias: object) -> bool:
    return isinstance(weight, Own) and (bias is None or isinstance(bias, Own))


def _linear(call: Call) -> Any:
    weight, bias = _weights(call)
    if weight is None or not _usable(weight, bias):
        return call.walk.fallback(call)
    walk, into = call.walk, call.classes.along(call.first.labels, -1)
    out = call.classes.fresh(weight.value.shape[0])
    walk.look(into, -1)
    walk.stand(weight, into, axis=1, power=-1)
    walk.stand(weight, out, axis=0, power=1)
    walk.stand(bias, out, power=1)
    return Labelled(call.value, along_axis(out, -1, call.value.shape))


def _convolution(axes: int) -> Rule:
    def rule(call: Call) -> Any:
        weight, bias = _weights(call)
        if weight is None or not _usable(weight, bias):
            return call.walk.fallback(call)
        walk, channels = call.walk, -axes - 1
        into = call.classes.along(call.first.labels, channels)
        walk.look(into, channels)
        groups = len(into) // weight.value.shape[1]
        if groups == len(into) > 1:
            out = _depthwise(call, weight, into)
        else:
            out = call.classes.fresh(weight.value.shape[0])
            _grouped(call, weight, into, out, groups)
        walk.stand(bias, out, power=1)
        return Labelled(call.value, along_axis(out, channels, call.value.shape))

    return rule


def _depthwise(call: Call, weight: Own, into: Tensor) -> Tensor:
    """Each channel has filters of its own, which go where the channel goes."""
    out = into.repeat_interleave(len(weight.value) // len(into))
    if call.walk.action == "permute":
        call.walk.stand(weight, out, axis=0, power=0)
    else:
        call.walk.hold(weight)
    return out


def _grouped(call: Call, weight: Own, into: Tensor, out: Tensor, groups: int) -> None:
    """Units move within their group; that groups as wholes could move, too, is left out."""
    if groups == 1:
        call.walk.stand(weight, into, axis=1, power=-1)
        call.walk.stand(weight, out, axis=0, power=1)
        return
    for group, (seen, made) in enumerate(zip(into.chunk(groups), out.chunk(groups), strict=True)):
        rows = group * len(made), (group + 1) * len(made)
        call.walk.stand(weight, seen, axis=1, power=-1, rows=rows)
        call.walk.stand(weight, made, axis=0, power=1, rows=rows)


def _transposed(axes: int) -> Rule:
    def rule(call: Call) -> Any:
        weight, bias = _weights(call)
        if weight is None or call.module.groups > 1:
            return call.walk.fallback(call)
        walk, channels = call.walk, -axes - 1
        into = call.classes.along(call.first.labels, channels)
        out = call.classes.fresh(weight.value.shape[1])
        walk.look(into, channels)
        walk.stand(weight, into, axis=0, power=-1)
        walk.stand(weight, out, axis=1, power=1)
        walk.stand(bias, out, power=1)
        return Labelled(call.value, along_axis(out, channels, call.value.shape))

    return rule


def _embedding(call: Call) -> Any:
    weight = call.walk.own(call.module.weight)
    if weight is None or call.module.max_norm is not None:
        return call.walk.fallback(call)
    call.classes.fix(call.first.labels)
    out = call.classes.fresh(weight.value.shape[1])
    call.walk.stand(weight, torch.full(weight.value.shape[:1], FIXED), axis=0, power=1)
    call.walk.stand(weight, out, axis=1, power=1)
    return Labelled(call.value, along_axis(out, -1, call.value.shape))


def _channel_norm(call: Call) -> Any:
    """BatchNorm and instance norm: each channel by itself, statistics along with it."""
    walk, layer = call.walk, call.module
    into = call.classes.along(call.first.labels, 1)
    if walk.action == "permute":
        for tensor in (layer.weight, layer.bias, layer.running_mean, layer.running_var):
            walk.stand(walk.own(tensor), into, power=1)
        return Labelled(call.value, along_axis(into, 1, call.value.shape))
    return _resized(call, into)


def _resized(call: Call, into: Tensor) -> Any:
    """Sizes behind a normalization are those of its weights; in front its ε keeps them."""
    weight, bias = (call.walk.own(t) for t in (call.module.weight, call.module.bias))
    call.classes.fix(into)
    if weight is None:
        return fixed(call.value)
    out = call.classes.fresh(len(into))
    call.walk.stand(weight, out, power=1)
    call.walk.stand(bias, out, power=1)
    return Labelled(call.value, along_axis(out, 1, call.value.shape))


def _layer_norm(call: Call) -> Any:
    walk, layer = call.walk, call.module
    shape = call.first.labels.shape
    rows = call.first.labels.reshape(-1, math.prod(layer.normalized_shape))
    into = call.classes.along(rows, 1)
    weight, bias = walk.own(layer.weight), walk.own(layer.bias)
    if walk.action == "rescale":
        call.classes.fix(into)
        if weight is None:
            return fixed(call.value)
        into = call.classes.fresh(len(into))
    walk.treat_alike(into)
    walk.stand(weight, into, axis=None, power=1)
    walk.stand(bias, into, axis=None, power=1)
    labels = into.reshape(layer.normalized_shape).expand(shape)
    return Labelled(call.value, labels)


def _group_norm(call: Call) -> Any:
    walk, layer = call.walk, call.module
    into = call.classes.along(call.first.labels, 1)
    if walk.action == "rescale":
        return _resized(call, into)
    for group in into.chunk(layer.num_groups):
        walk.treat_alike(group)
    walk.stand(walk.own(layer.weight), into, power=1)
    walk.stand(walk.own(layer.bias), into, power=1)
    return Labelled(call.value, along_axis(into, 1, call.value.shape))


def _prelu(call: Call) -> Any:
    weight = call.walk.own(call.module.weight)
    if len(call.module.weight) == 1:
        call.walk.hold(weight)
        return Labelled(call.value, call.first.labels)
    into = call.classes.along(call.first.labels, 1)
    if call.walk.action == "permute":
        call.walk.stand(weight, into, power=0)
    else:  # a slope has no scale
        call.walk.hold(weight)
    return Labelled(call.value, along_axis(into, 1, call.value.shape))
