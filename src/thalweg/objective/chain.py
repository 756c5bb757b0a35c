"""Networks that are a chain of linear layers and elementwise functions, run as a stack.

Activations are kept as `[k, features, n]`, examples innermost: every layer of every model is then
one wide product, and the first layer of all models is a single one, since they share its input.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

_ELEMENTWISE_MODULES = (
    nn.ReLU, nn.Sigmoid, nn.Tanh, nn.LeakyReLU, nn.GELU, nn.SiLU, nn.ELU, nn.Softplus, nn.ReLU6,
    nn.Hardtanh, nn.Mish, nn.SELU, nn.CELU, nn.LogSigmoid, nn.Dropout, nn.Identity,
)  # fmt: skip
_ELEMENTWISE_FUNCTIONS = {
    F.relu, F.sigmoid, F.tanh, F.leaky_relu, F.gelu, F.silu, F.elu, F.softplus,
    torch.relu, torch.sigmoid, torch.tanh,
}  # fmt: skip
_ELEMENTWISE_METHODS = {"relu", "sigmoid", "tanh"}


@dataclass(frozen=True)
class Linear:
    """A linear layer, by the names of its parameters.

    Attributes:
        weight: name of `[outputs, inputs]`.
        bias: name of `[outputs]`, or None.
    """

    weight: str
    bias: str | None


@dataclass(frozen=True)
class Flatten:
    """From `[n, ...]` to `[n, features]`."""


@dataclass(frozen=True)
class Elementwise:
    """An elementwise function.

    Attributes:
        function: a module, or a function of torch.
        arguments: further arguments, by position.
        options: further arguments, by name.
    """

    function: Callable[..., Tensor]
    arguments: tuple[Any, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, hidden: Tensor) -> Tensor:
        """Apply it."""
        return self.function(hidden, *self.arguments, **self.options)


Step = Linear | Flatten | Elementwise
_known: WeakKeyDictionary[nn.Module, list[Step] | str] = WeakKeyDictionary()


def chain_steps(model: nn.Module) -> list[Step] | str:
    """The steps of a chain, in order, or a few words that say why the model is none.

    Args:
        model: the architecture.

    Example:
        >>> [type(step).__name__ for step in chain_steps(nn.Sequential(nn.Linear(2, 3), nn.Tanh()))]
        ['Linear', 'Elementwise']
    """
    steps = _known.get(model)
    if steps is None:
        steps = _known[model] = _trace(model)
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
    steps = chain_steps(model)
    if isinstance(steps, str):
        raise RuntimeError(steps)
    hidden: Tensor | None = None
    for step in steps:
        if isinstance(step, Flatten):
            if hidden is not None:
                continue  # [k, features, n] is flat already
            inputs = inputs.flatten(1)
        elif isinstance(step, Linear):
            if step.weight not in tensors:
                raise RuntimeError(f"'{step.weight}' is not trainable")
            weight = tensors[step.weight]
            hidden = _first(weight, inputs) if hidden is None else torch.bmm(weight, hidden)
            if step.bias is not None:
                hidden = hidden + tensors[step.bias][:, :, None]
        elif hidden is None:
            inputs = step(inputs)
        else:
            hidden = step(hidden)
    if hidden is None:
        raise RuntimeError("no linear layer")
    return hidden.transpose(1, 2)


def _first(weight: Tensor, inputs: Tensor) -> Tensor:
    """One product for the first layer of all models: `[k, features, n]`."""
    if inputs.ndim != 2:
        raise RuntimeError("the first linear layer does not see flat inputs")
    models, features, width = weight.shape
    return (weight.reshape(models * features, width) @ inputs.T).reshape(models, features, -1)


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
            steps.append(step)
        previous = node
    return "has no output"


def _step(node: fx.Node, modules: Mapping[str, nn.Module]) -> Step | None:
    rest, options = node.args[1:], dict(node.kwargs)
    if node.op == "call_module":
        name = str(node.target)
        layer = modules[name]
        if type(layer) is nn.Linear:
            prefix = f"{name}." if name else ""
            return Linear(f"{prefix}weight", None if layer.bias is None else f"{prefix}bias")
        if type(layer) is nn.Flatten and (layer.start_dim, layer.end_dim) == (1, -1):
            return Flatten()
        return Elementwise(layer) if type(layer) in _ELEMENTWISE_MODULES else None
    if node.op == "call_function" and node.target in _ELEMENTWISE_FUNCTIONS:
        function: Callable[..., Tensor] = node.target  # type: ignore[assignment]
        return Elementwise(function, rest, options)
    if node.op == "call_function" and node.target is torch.flatten and rest == (1,):
        return Flatten()
    if node.op == "call_method" and node.target in _ELEMENTWISE_METHODS:
        return Elementwise(getattr(torch, str(node.target)), rest, options)
    if node.op == "call_method" and node.target == "flatten" and rest == (1,):
        return Flatten()
    return None
