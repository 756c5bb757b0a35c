"""Networks that are a chain of linear layers and elementwise functions, run as a stack.

Activations are kept as `[k, features, n]`, examples innermost: every layer of every model is then
one wide product, and the first layer of all models is a single one, since they share its input.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from thalweg.objective.layers import is_hooked

# Functions whose derivative is known from their output.
Known = Literal["relu", "sigmoid", "tanh"]

_KNOWN_MODULES: dict[type[nn.Module], Known] = {
    nn.ReLU: "relu", nn.Sigmoid: "sigmoid", nn.Tanh: "tanh",
}  # fmt: skip
_KNOWN_FUNCTIONS: dict[object, Known] = {
    F.relu: "relu", torch.relu: "relu", "relu": "relu",
    F.sigmoid: "sigmoid", torch.sigmoid: "sigmoid", "sigmoid": "sigmoid",
    F.tanh: "tanh", torch.tanh: "tanh", "tanh": "tanh",
}  # fmt: skip
ELEMENTWISE_MODULES = (
    nn.LeakyReLU, nn.GELU, nn.SiLU, nn.ELU, nn.Softplus, nn.ReLU6, nn.Hardtanh, nn.Mish, nn.SELU,
    nn.CELU, nn.LogSigmoid, nn.Dropout, nn.Identity,
)  # fmt: skip
ELEMENTWISE_FUNCTIONS = {F.leaky_relu, F.gelu, F.silu, F.elu, F.softplus}


@dataclass(frozen=True)
class Linear:
    """A linear layer, by the names of its parameters."""

    weight: str
    bias: str | None


@dataclass(frozen=True)
class Flatten:
    """From `[n, ...]` to `[n, features]`."""


@dataclass(frozen=True)
class Elementwise:
    """A function of each number alone.

    Attributes:
        function: a module, or a function of torch.
        known: which one, where its derivative is known from its output.
        arguments: further arguments, by position.
        options: further arguments, by name.
    """

    function: Callable[..., Tensor]
    known: Known | None = None
    arguments: tuple[Any, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, hidden: Tensor) -> Tensor:
        """Apply it."""
        return self.function(hidden, *self.arguments, **self.options)


Step = Linear | Flatten | Elementwise
_known: WeakKeyDictionary[nn.Module, list[Step] | str] = WeakKeyDictionary()


def chain_of(model: nn.Module) -> list[Step]:
    """The steps of a model that is a chain.

    Args:
        model: the architecture.

    Raises:
        RuntimeError: if the model is not such a chain, saying why.

    Example:
        >>> chain_of(nn.Sequential(nn.Linear(2, 1, bias=False), nn.ReLU()))[0]
        Linear(weight='0.weight', bias=None)
    """
    steps = _known.get(model)
    if steps is None:
        steps = _known[model] = _trace(model)
    if isinstance(steps, str):
        raise RuntimeError(steps)
    return steps


def forward_chain(model: nn.Module, tensors: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
    """Outputs of a stack of models.

    Args:
        model: the architecture.
        tensors: name to `[k, *shape]`.
        inputs: `[n, ...]`, the same for all models.

    Returns:
        `[k, n, outputs]`.

    Raises:
        RuntimeError: if the model is not such a chain.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
        >>> stacked = {name: torch.stack([p, p]) for name, p in model.named_parameters()}
        >>> forward_chain(model, stacked, torch.zeros(5, 2)).shape
        torch.Size([2, 5, 1])
    """
    inputs, steps = before_first_layer(chain_of(model), inputs)
    hidden = inputs
    for i, step in enumerate(steps):
        if isinstance(step, Linear):
            weight = trainable(tensors, step.weight)
            hidden = first_layer(weight, inputs) if i == 0 else torch.bmm(weight, hidden)
            if step.bias is not None:
                hidden = hidden + trainable(tensors, step.bias)[:, :, None]
        elif isinstance(step, Elementwise):
            hidden = step(hidden)
        # Flatten: [k, features, n] is flat already
    return hidden.transpose(1, 2)


def before_first_layer(steps: list[Step], inputs: Tensor) -> tuple[Tensor, list[Step]]:
    """What the first linear layer sees, the same for all models, and the steps from there.

    Args:
        steps: of a chain.
        inputs: `[n, ...]`.

    Raises:
        RuntimeError: if there is no linear layer, or it does not see `[n, features]`.
    """
    for i, step in enumerate(steps):
        if isinstance(step, Linear):
            if inputs.ndim != 2:
                raise RuntimeError("the first linear layer does not see flat inputs")
            return inputs, steps[i:]
        inputs = inputs.flatten(1) if isinstance(step, Flatten) else step(inputs)
    raise RuntimeError("no linear layer")


def first_layer(weight: Tensor, inputs: Tensor) -> Tensor:
    """One product for the first layer of all models.

    Args:
        weight: `[k, features, width]`.
        inputs: `[n, width]`.

    Returns:
        `[k, features, n]`.
    """
    models, features, width = weight.shape
    if width == 1:
        return weight * inputs.T
    return (weight.reshape(models * features, width) @ inputs.T).reshape(models, features, -1)


def trainable(tensors: Mapping[str, Tensor], name: str) -> Tensor:
    """A parameter of the stack.

    Raises:
        RuntimeError: if it is frozen, and so no part of the stack.
    """
    if name not in tensors:
        raise RuntimeError(f"'{name}' is not trainable")
    return tensors[name]


def _trace(model: nn.Module) -> list[Step] | str:
    """The steps of a chain, or why the model is none."""
    try:
        graph = fx.Tracer().trace(model)
    except Exception as error:  # fx raises whatever the traced code raises on symbolic values
        return f"cannot be traced ({type(error).__name__})"
    modules = dict(model.named_modules())
    steps: list[Step] = []
    previous: fx.Node | None = None
    for node in graph.nodes:
        if node.op == "output":
            return steps if node.args == (previous,) else "does not return the end of a chain"
        if node.op == "placeholder":
            if previous is not None:
                return "has several inputs"
        elif not node.args or node.args[0] is not previous or len(node.all_input_nodes) != 1:
            return f"is not a chain at '{node.name}'"
        else:
            step = _step(node, modules)
            if step is None:
                return f"'{node.name}' is neither a linear layer nor elementwise"
            if not any(isinstance(s, Linear) for s in steps) and _is_dropout(node, modules):
                return f"'{node.name}' drops inputs, which all models of a stack share"
            steps.append(step)
        previous = node
    return "has no output"


def _is_dropout(node: fx.Node, modules: Mapping[str, nn.Module]) -> bool:
    return node.op == "call_module" and isinstance(modules[str(node.target)], nn.Dropout)


def _step(node: fx.Node, modules: Mapping[str, nn.Module]) -> Step | None:
    rest, options = node.args[1:], dict(node.kwargs)
    if node.op == "call_module":
        return _layer(str(node.target), modules[str(node.target)])
    if node.target is torch.flatten or node.target == "flatten":
        return Flatten() if rest == (1,) and not options else None
    if node.op not in ("call_function", "call_method"):
        return None
    known = _KNOWN_FUNCTIONS.get(node.target)
    if known is not None:
        return Elementwise(getattr(torch, known), known)
    if node.target in ELEMENTWISE_FUNCTIONS:
        function: Callable[..., Tensor] = node.target  # type: ignore[assignment]
        return Elementwise(function, None, rest, options)
    return None


def _layer(name: str, layer: nn.Module) -> Step | None:
    if is_hooked(layer):
        return None
    if type(layer) is nn.Linear:
        prefix = f"{name}." if name else ""
        return Linear(f"{prefix}weight", None if layer.bias is None else f"{prefix}bias")
    if type(layer) is nn.Flatten and (layer.start_dim, layer.end_dim) == (1, -1):
        return Flatten()
    if type(layer) in _KNOWN_MODULES:
        known = _KNOWN_MODULES[type(layer)]
        return Elementwise(getattr(torch, known), known)
    return Elementwise(layer) if type(layer) in ELEMENTWISE_MODULES else None
