"""The first layer's output along a line or plane of weight space.

On the points `θ(c) = θ0 + Σ_j c_j d_j` of a line or plane the output of a linear or convolutional
layer that sees the data themselves is affine in the coordinates: with `y(θ)` its output,
`y(θ(c)) = y(θ0) + Σ_j c_j y(d_j)`, biases included. The `1 + m` responses `y(θ0), y(d_1), …` serve
every point; only the rest of the network is left for each of them.

The layer is found through the graph that torch.fx traces. It must be a plain layer, run once on
something that depends on the data alone, and share its weights with no other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from thalweg.objective.chain import ELEMENTWISE_FUNCTIONS, ELEMENTWISE_MODULES, Linear
from thalweg.objective.layers import is_hooked
from thalweg.objective.normalization import BandedResponseNorm
from thalweg.objective.pooling import SlicedMaxPool2d, phases, pool_before_relu, relu_in_place

_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d)
# What may stand between the data and the layer, beside functions and methods of tensors.
_SHAPING = (nn.Flatten, nn.Unflatten, nn.Identity)
# Elementwise steps of a chain that overwrite what they get, by module, function and method.
_IN_PLACE: dict[object, Callable[[Tensor], Tensor]] = {
    nn.ReLU: torch.relu_, F.relu: torch.relu_, torch.relu: torch.relu_, torch.relu_: torch.relu_,
    nn.Sigmoid: torch.sigmoid_, F.sigmoid: torch.sigmoid_, torch.sigmoid: torch.sigmoid_,
    nn.Tanh: torch.tanh_, F.tanh: torch.tanh_, torch.tanh: torch.tanh_,
    "relu": torch.relu_, "sigmoid": torch.sigmoid_, "tanh": torch.tanh_,
}  # fmt: skip

ChainStep = Linear | Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class FirstLayer:
    """A model cut in two behind its first layer.

    Attributes:
        layer: the first layer.
        names: names of its parameters to their names in θ.
        before: from the inputs to what the layer sees.
        rest: from the layer's output, and the inputs, to the output of the model.
        rest_names: names of the parameters of `rest` to their names in θ.
        window: height and width of the max-pooling that takes the layer's output, which then is
            no part of `rest`; None where there is none.
        chain: the rest as linear layers and elementwise functions on `[k, features, n]`, in place;
            None where it is no such chain.
    """

    layer: nn.Linear | nn.Conv1d | nn.Conv2d
    names: Mapping[str, str]
    before: fx.GraphModule
    rest: fx.GraphModule
    rest_names: Mapping[str, str]
    window: tuple[int, int] | None
    chain: tuple[ChainStep, ...] | None

    def responses(self, points: list[dict[str, Tensor]], inputs: tuple[Tensor, ...]) -> Tensor:
        """The layer's output on a chunk of data at several points of weight space.

        Args:
            points: named parameters of the layer, in θ's names, one dictionary a point.
            inputs: of the model, `[n, ...]` each.

        Returns:
            `[points, n, ...]`, or `[points, n, rows · columns, ...]` split into the phases of
            the pooling window, where the layer's output is pooled.
        """
        seen = self.before(*inputs)
        outputs = []
        for tensors in points:
            weight = tensors[self.names["weight"]]
            bias = tensors[self.names["bias"]] if "bias" in self.names else None
            if isinstance(self.layer, nn.Linear):
                output = F.linear(seen, weight, bias)
            else:
                output = self.layer._conv_forward(seen, weight, bias)
            outputs.append(output if self.window is None else phases(output, self.window))
        return torch.stack(outputs)


def first_layer(model: nn.Module, trainable: tuple[str, ...]) -> FirstLayer | None:
    """Cut a model behind its first layer; None where its structure does not allow it.

    Args:
        model: in evaluation mode; it is not changed.
        trainable: names of the parameters in θ.

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> cut = first_layer(model.eval(), tuple(n for n, _ in model.named_parameters()))
        >>> cut.names, cut.rest_names
        ({'weight': '1.weight', 'bias': '1.bias'}, {'3.weight': '3.weight', '3.bias': '3.bias'})
    """
    graph = _graph(model)
    node = None if graph is None else _find(graph, model)
    if graph is None or node is None:
        return None
    layer = model.get_submodule(str(node.target))
    if not isinstance(layer, _LAYERS):
        return None
    known = {id(p): name for name, p in model.named_parameters() if name in trainable}
    names = {name: known.get(id(p)) for name, p in layer.named_parameters()}
    rest, window = _rest(model, node.name)
    rest_names = {n: known[id(p)] for n, p in rest.named_parameters() if id(p) in known}
    owned = {name: there for name, there in names.items() if there is not None}
    if len(owned) < len(names) or set(owned.values()) & set(rest_names.values()):
        return None  # frozen, or tied to another layer
    return FirstLayer(
        layer=layer,
        names=owned,
        before=_before(model, node.name),
        rest=rest,
        rest_names=rest_names,
        window=window,
        chain=None if window else _chain(rest, rest_names),
    )


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        own = isinstance(m, (SlicedMaxPool2d, BandedResponseNorm))
        return own or super().is_leaf_module(m, module_qualified_name)


def _graph(model: nn.Module) -> fx.Graph | None:
    if isinstance(model, _LAYERS):
        return None  # a single layer: there is no rest
    try:
        return _Tracer().trace(model)
    except Exception:  # fx raises whatever the traced code raises on symbolic values
        return None


def _find(graph: fx.Graph, model: nn.Module) -> fx.Node | None:
    """The first layer that is plain, runs once and sees what depends on the data alone."""
    modules = dict(model.named_modules())
    data: set[fx.Node] = set()
    for node in graph.nodes:
        if node.op == "placeholder":
            data.add(node)
            continue
        if not node.all_input_nodes or not data.issuperset(node.all_input_nodes):
            continue
        if node.op in ("call_function", "call_method"):
            data.add(node)
        elif node.op == "call_module":
            layer = modules[str(node.target)]
            if type(layer) in _SHAPING and not is_hooked(layer):
                data.add(node)
            elif type(layer) in _LAYERS:
                runs = [n for n in graph.nodes if modules.get(str(n.target)) is layer]
                return node if len(runs) == 1 and not is_hooked(layer) and not node.kwargs else None
    return None


def _node(graph: fx.Graph, name: str) -> fx.Node:
    return next(node for node in graph.nodes if node.name == name)


def _before(model: nn.Module, name: str) -> fx.GraphModule:
    """From the inputs to what the layer sees."""
    graph = _Tracer().trace(model)
    layer = _node(graph, name)
    seen = layer.args[0]
    for node in reversed(list(graph.nodes)):
        graph.erase_node(node)
        if node is layer:
            break
    graph.output(seen)
    return fx.GraphModule(model, graph)


def _rest(model: nn.Module, name: str) -> tuple[fx.GraphModule, tuple[int, int] | None]:
    """From the layer's output, pooled where a pooling layer takes it, to the model's output."""
    graph = _Tracer().trace(model)
    layer = _node(graph, name)
    with graph.inserting_before(next(iter(graph.nodes))):
        response = graph.placeholder("response")
    layer.replace_all_uses_with(response)
    # What nothing but the layer looked at goes with it.
    gone = [layer]
    while gone:
        node = gone.pop()
        if not node.users and node.op != "placeholder":
            gone += node.all_input_nodes
            graph.erase_node(node)
    rest = fx.GraphModule(model, graph)
    pool_before_relu(rest)
    window: tuple[int, int] | None = None
    if len(response.users) == 1:
        pool = next(iter(response.users))
        taken = rest.get_submodule(str(pool.target)) if pool.op == "call_module" else None
        if isinstance(taken, SlicedMaxPool2d) and taken.tiles:
            window = taken.kernel
            pool.replace_all_uses_with(response)
            rest.graph.erase_node(pool)
    relu_in_place(rest)
    return rest.eval(), window


def _chain(rest: fx.GraphModule, names: Mapping[str, str]) -> tuple[ChainStep, ...] | None:
    """The steps of the rest on `[k, features, n]`, if it is a chain of known ones."""
    modules = dict(rest.named_modules())
    steps: list[ChainStep] = []
    previous: fx.Node | None = None
    for node in rest.graph.nodes:
        if node.op == "placeholder":
            if previous is None:
                previous = node
            elif node.users:
                return None  # the inputs are needed again
            continue
        if node.op == "output":
            return tuple(steps) if node.args == (previous,) else None
        if not node.args or node.args[0] is not previous or len(node.all_input_nodes) != 1:
            return None
        if len(node.all_input_nodes[0].users) != 1:
            return None
        step = _chain_step(node, modules, names)
        if step is None:
            return None
        steps.append(step)
        previous = node
    return None


def _chain_step(
    node: fx.Node, modules: Mapping[str, nn.Module], names: Mapping[str, str]
) -> ChainStep | None:
    if node.op == "call_module":
        layer = modules[str(node.target)]
        if is_hooked(layer):
            return None
        if type(layer) is nn.Linear:
            weight, bias = (names.get(f"{node.target}.{part}") for part in ("weight", "bias"))
            trained = weight is not None and (layer.bias is None or bias is not None)
            return Linear(weight, bias) if weight is not None and trained else None
        own = layer if type(layer) in ELEMENTWISE_MODULES else None
        return _IN_PLACE.get(type(layer), own)
    if node.target in _IN_PLACE:
        return _IN_PLACE[node.target]
    if node.op == "call_function" and node.target in ELEMENTWISE_FUNCTIONS:
        function: Callable[..., Tensor] = node.target  # type: ignore[assignment]
        return partial(_called, function, node.args[1:], dict(node.kwargs))
    return None


def _called(
    function: Callable[..., Tensor], rest: tuple[Any, ...], options: dict[str, Any], hidden: Tensor
) -> Tensor:
    return function(hidden, *rest, **options)
