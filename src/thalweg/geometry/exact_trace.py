"""Exact traces by sweeps back through a network that is piecewise linear in each weight."""

from __future__ import annotations

import operator
from collections import Counter
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, jacrev, vmap

from thalweg.errors import InputError
from thalweg.objective import Objective
from thalweg.objective.layers import is_hooked
from thalweg.parameters import Source
from thalweg.symmetry.walk import trace as graph_of

_CHUNK = 512
_WITH_WEIGHTS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.BatchNorm1d, nn.BatchNorm2d)
_MODULES = (
    nn.ReLU, nn.LeakyReLU, nn.ReLU6, nn.Hardtanh, nn.Identity, nn.Flatten, nn.Unflatten, nn.Dropout,
    nn.Dropout1d, nn.Dropout2d, nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d,
    nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d,
    nn.ZeroPad2d, *_WITH_WEIGHTS,
)  # fmt: skip
_FUNCTIONS = (
    F.relu, torch.relu, F.leaky_relu, F.relu6, F.hardtanh, torch.flatten, torch.reshape, torch.cat,
    torch.stack, torch.add, torch.sub, operator.add, operator.sub, operator.iadd, operator.getitem,
    operator.neg, F.max_pool1d, F.max_pool2d, F.avg_pool1d, F.avg_pool2d, F.adaptive_avg_pool1d,
    F.adaptive_avg_pool2d, F.dropout, F.pad, torch.abs, torch.permute, torch.transpose,
    torch.squeeze, torch.unsqueeze, torch.maximum, torch.minimum, torch.mean, torch.sum, getattr,
)  # fmt: skip
_METHODS = {
    "relu", "relu_", "flatten", "reshape", "view", "permute", "transpose", "squeeze", "unsqueeze",
    "contiguous", "add", "sub", "neg", "size", "mean", "sum", "expand", "chunk", "split", "abs",
    "clone",
}  # fmt: skip


def why_not_exact(objective: Objective) -> str:
    """Why the trace of a network cannot be had exactly; empty if it can.

    Args:
        objective: whose model.
    """
    model = objective.model
    try:
        graph = graph_of(model).graph
    except InputError:
        return "torch.fx cannot trace the network"
    modules = dict(model.named_modules())
    runs = Counter(str(n.target) for n in graph.nodes if n.op == "call_module")
    for node in graph.nodes:
        if node.op == "call_module":
            layer = modules[str(node.target)]
            if type(layer) not in _MODULES or is_hooked(layer):
                return f"'{node.target}' is of class {type(layer).__name__}"
            if list(layer.parameters()) and runs[str(node.target)] > 1:
                return f"'{node.target}' is used more than once"
        elif node.op == "call_function" and node.target not in _FUNCTIONS:
            return f"it calls {getattr(node.target, '__name__', node.target)}"
        elif node.op == "call_method" and node.target not in _METHODS:
            return f"it calls {node.target}"
        elif node.op == "get_attr":
            return f"it uses '{node.target}' without a layer"
    named = list(model.named_parameters(remove_duplicate=False))
    if len({id(p) for _, p in named}) < len(named):
        return "it has tied weights"
    return ""


def exact_trace(
    objective: Objective, model: Source, *, split: str | None = None, double: bool = True
) -> dict[str, float]:
    """The trace of the Hessian, parameter by parameter.

    Args:
        objective: whose network :func:`why_not_exact` has nothing against.
        model: where.
        split: the data; default: the training split.
        double: compute in float64.

    Raises:
        InputError: if the model's output is not one tensor with examples first.
    """
    theta = objective.theta(model)
    twin = objective.double() if double else objective
    state = twin.state_dict(theta.to(twin.layout.dtype))
    own = {
        name: state[name].detach().requires_grad_(name in twin.layout.names)
        for name, _ in [*twin.model.named_parameters(), *twin.model.named_buffers()]
        if name in state
    }
    data = twin.splits[split if split is not None else twin.training.split]
    sums = dict.fromkeys(twin.layout.names, 0.0)
    for inputs, target in data.chunks(_CHUNK):
        with _Layers(twin.model, set(twin.layout.names)) as layers, torch.enable_grad():
            arguments = inputs if isinstance(inputs, tuple) else (inputs,)
            output = functional_call(twin.model, own, arguments)
            if not isinstance(output, Tensor) or len(output) != len(target):
                raise InputError(
                    "expected one tensor [n, ...] as the model's output for an exact trace, got "
                    "another: take the estimate, exact=False"
                )
            values, vectors = _loss_curvature(twin.loss, output.detach(), target)
            for value, vector in zip(values.T, vectors.permute(2, 0, 1), strict=True):
                layers.add(output, vector.reshape(output.shape), value, sums)
    return {name: total / len(data) for name, total in sums.items()}


def _loss_curvature(loss: Any, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues `[n, c]` and vectors `[n, c, c]` of the loss's Hessian at every output."""

    def single(row: Tensor, label: Tensor) -> Tensor:
        return loss(row[None], label[None]).mean()

    curved = vmap(jacrev(grad(single)))(output, target)
    size = output[0].numel()
    return torch.linalg.eigh(curved.reshape(len(output), size, size))


class _Layers:
    """Catches what layers see and make, to get the norms of single examples' gradients.

    Args:
        model: whose layers.
        wanted: names of the parameters in question.
    """

    def __init__(self, model: nn.Module, wanted: set[str]) -> None:
        self._layers = {
            name: layer for name, layer in model.named_modules()
            if isinstance(layer, _WITH_WEIGHTS)
            and any(f"{name}.{n}".lstrip(".") in wanted for n, _ in layer.named_parameters())
        }  # fmt: skip
        self._wanted = wanted
        self._seen: dict[str, tuple[Tensor, Tensor]] = {}
        self._handles: list[Any] = []

    def __enter__(self) -> _Layers:
        for name, layer in self._layers.items():
            self._handles.append(layer.register_forward_hook(self._catcher(name)))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _catcher(self, name: str) -> Any:
        def catch(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            made = output.clone()  # what follows may work in place
            self._seen[name] = _prepared(layer, inputs[0].detach()), output
            return made

        return catch

    def add(self, output: Tensor, vector: Tensor, value: Tensor, sums: dict[str, float]) -> None:
        """Add `λ ‖Jᵀu‖²`, summed over the examples, to the sum of every parameter.

        Args:
            output: of the model, `[n, ...]`.
            vector: u, `[n, ...]`.
            value: λ, `[n]`.
            sums: by parameter.
        """
        made = [self._seen[name][1] for name in self._seen]
        slopes = torch.autograd.grad(output, made, vector, retain_graph=True, allow_unused=True)
        for name, slope in zip(self._seen, slopes, strict=True):
            if slope is None:
                continue
            layer = self._layers[name]
            for part, norms in _norms(layer, self._seen[name][0], slope.detach()).items():
                full = f"{name}.{part}".lstrip(".")
                if full in self._wanted:
                    sums[full] += float(torch.dot(norms, value))


def _prepared(layer: nn.Module, seen: Tensor) -> Tensor:
    """What a layer saw, in the form that its norms need: `[n, groups, k, places]`."""
    if isinstance(layer, nn.Linear):
        return seen.reshape(len(seen), -1, seen.shape[-1]).transpose(1, 2)[:, None]
    if isinstance(layer, nn.Conv1d | nn.Conv2d):
        return _patches(layer, seen)
    return _normalized(layer, seen)


def _patches(layer: nn.Conv1d | nn.Conv2d, seen: Tensor) -> Tensor:
    kernel, stride, dilation = layer.kernel_size, layer.stride, layer.dilation
    if isinstance(layer.padding, str) or layer.padding_mode != "zeros":
        # As the layer itself pads, on both sides.
        mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
        seen = F.pad(seen, layer._reversed_padding_repeated_twice, mode=mode)
        padding: tuple[int, ...] = (0,) * len(kernel)
    else:
        padding = tuple(layer.padding)  # type: ignore[arg-type]
    if isinstance(layer, nn.Conv1d):
        seen, kernel, stride = seen[:, :, None], (1, *kernel), (1, *stride)
        dilation, padding = (1, *dilation), (0, *padding)
    rows = F.unfold(seen, kernel, dilation, padding, stride)  # type: ignore[arg-type]
    return rows.reshape(len(rows), layer.groups, -1, rows.shape[-1])


def _normalized(layer: nn.Module, seen: Tensor) -> Tensor:
    """What BatchNorm multiplies with its weight; statistics stand in the layer while it runs."""
    plain = F.batch_norm(seen, layer.running_mean, layer.running_var, eps=layer.eps)  # type: ignore[arg-type]
    return plain.reshape(*plain.shape[:2], -1)


def _norms(layer: nn.Module, seen: Tensor, slope: Tensor) -> dict[str, Tensor]:
    """‖gradient‖² of every example, `[n]`, by parameter of the layer."""
    n = len(slope)
    if isinstance(layer, nn.Linear):
        made = slope.reshape(n, -1, slope.shape[-1]).transpose(1, 2)[:, None]
    elif isinstance(layer, nn.Conv1d | nn.Conv2d):
        made = slope.reshape(n, layer.groups, -1, slope[0, 0].numel())
    else:
        made = slope.reshape(n, slope.shape[1], -1)
        weight = (made * seen).sum(2)
        return {"weight": weight.square().sum(1), "bias": made.sum(2).square().sum(1)}
    if made.shape[-1] == 1:  # one place: the gradient is an outer product
        weight = (made.square().sum(2) * seen.square().sum(2)).sum((1, 2))
    else:
        weight = (made @ seen.transpose(2, 3)).square().sum((1, 2, 3))
    return {"weight": weight, "bias": made.sum(3).square().sum((1, 2))}
