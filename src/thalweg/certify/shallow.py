"""Networks with one hidden relu layer and squared loss: recognised, and read as matrices.

The class of Theorem 2.4 of Freeman & Bruna, "Topology and Geometry of Half-Rectified Network
Optimization" (2017): `x -> W2 relu(W1 x + b1) + b2`, biases optional, any number of outputs. About
these networks more can be said exactly than about others (:mod:`thalweg.certify.exact`,
:mod:`thalweg.certify.obstruction`).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from thalweg.errors import InputError
from thalweg.objective import Objective
from thalweg.objective.criterion import Loss

_RELU_FUNCTIONS = (F.relu, torch.relu)
_EXPECTED = "expected one hidden relu layer with squared loss (a chain Linear, ReLU, Linear)"


@dataclass(frozen=True, eq=False)
class Weights:
    """The matrices of one network, float64.

    Attributes:
        w1: `[units, inputs]`.
        b1: `[units]`, or None.
        w2: `[outputs, units]`.
        b2: `[outputs]`, or None.
    """

    w1: np.ndarray
    b1: np.ndarray | None
    w2: np.ndarray
    b2: np.ndarray | None


@dataclass(frozen=True, eq=False)
class Shallow:
    """An objective whose criterion is `scale * sum |W2 relu(W1 x + b1) + b2 - y|²`.

    Attributes:
        objective: where it comes from.
        first: name of the hidden layer in its model.
        second: name of the output layer.
        inputs: `[n, inputs]`, float64, of the criterion's split.
        target: `[n, outputs]`, float64.
        scale: one over the number of targets, `n * outputs`, as ``mse_loss`` averages.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
        >>> made = Objective(net, F.mse_loss, train=(torch.zeros(5, 2), torch.zeros(5, 1)))
        >>> shallow = Shallow.of(made)
        >>> shallow.scale, shallow.weights(torch.zeros(13)).w1.shape
        (0.2, (3, 2))
    """

    objective: Objective
    first: str
    second: str
    inputs: np.ndarray
    target: np.ndarray
    scale: float

    @classmethod
    def of(cls, objective: Objective) -> Shallow:
        """Recognise an objective of this class.

        Args:
            objective: any; the loss must be torch's own ``mse_loss`` or ``MSELoss``, averaged or
                unreduced, since no other can be known to be the squared error.

        Raises:
            InputError: if it is not of this class, with the reason.
        """
        measure = objective.criterion.measure
        loss = objective.loss if measure == "loss" else measure
        if isinstance(loss, str):
            raise InputError(f"{_EXPECTED}, got the criterion '{loss}'")
        if not _is_mean_squared_error(loss):
            raise InputError(
                f"{_EXPECTED}, got the loss {getattr(loss, '__name__', type(loss).__name__)}: use "
                "torch.nn.functional.mse_loss"
            )
        flatten, first, second = _layers(objective.model)
        split = objective.splits[objective.criterion.split]
        if len(split.inputs) != 1:
            raise InputError(f"{_EXPECTED}, got {len(split.inputs)} inputs")
        inputs = split.inputs[0].flatten(1) if flatten else split.inputs[0]
        outputs = _linear(objective.model, second).out_features
        expected = (len(inputs), outputs)
        if inputs.ndim != 2 or tuple(split.target.shape) != expected:
            raise InputError(
                f"{_EXPECTED}, inputs [n, features] and targets {list(expected)}, got inputs "
                f"{list(inputs.shape)} and targets {list(split.target.shape)}"
            )
        x, y = _numpy(inputs), _numpy(split.target)
        return cls(objective, first, second, x, y, 1.0 / y.size)

    def weights(self, theta: Tensor) -> Weights:
        """The matrices at θ, frozen tensors included.

        Args:
            theta: `[p]`.

        Raises:
            KeyError: if the layers have none, which :meth:`of` excludes.
        """
        tensors = self.objective.state_dict(theta.to(self.objective.device))

        def of(layer: str, kind: str) -> np.ndarray | None:
            name = f"{layer}.{kind}" if layer else kind
            return _numpy(tensors[name]) if name in tensors else None

        w1, w2 = of(self.first, "weight"), of(self.second, "weight")
        if w1 is None or w2 is None:
            raise KeyError(f"no weights under '{self.first}' and '{self.second}'")
        return Weights(w1, of(self.first, "bias"), w2, of(self.second, "bias"))

    def permute_hidden(self, theta: Tensor, permutation: Sequence[int]) -> Tensor:
        """θ with its hidden units in another order: the same function of `x`.

        Args:
            theta: `[p]`.
            permutation: place `i` is taken by unit `permutation[i]`.

        Returns:
            `[p]`, a new vector.

        Raises:
            InputError: if it is not a permutation of the hidden units.

        Example:
            >>> net = nn.Sequential(nn.Linear(1, 2, bias=False), nn.ReLU(), nn.Linear(2, 1))
            >>> made = Objective(net, F.mse_loss, train=(torch.ones(2, 1), torch.ones(2, 1)))
            >>> Shallow.of(made).permute_hidden(torch.tensor([1.0, 2, 3, 4, 5]), (1, 0))
            tensor([2., 1., 4., 3., 5.])
        """
        units = _linear(self.objective.model, self.first).out_features
        order = list(permutation)
        if sorted(order) != list(range(units)):
            raise InputError(f"expected a permutation of {units} hidden units, got {order}")
        tensors = dict(self.objective.layout.unflatten(theta))
        index = torch.tensor(order, device=theta.device)
        axes = {f"{self.first}.weight": 0, f"{self.first}.bias": 0, f"{self.second}.weight": 1}
        for name, axis in axes.items():
            if name in tensors:
                tensors[name] = tensors[name].index_select(axis, index)
        return self.objective.layout.flatten(tensors)


def _linear(model: nn.Module, name: str) -> nn.Linear:
    layer = model.get_submodule(name)
    if not isinstance(layer, nn.Linear):
        raise TypeError(f"'{name}' is no linear layer")
    return layer


def _numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().to("cpu", torch.float64).numpy()


def _is_mean_squared_error(loss: Loss) -> bool:
    """Whether a loss is torch's squared error, the mean or one value an output."""
    if isinstance(loss, nn.MSELoss) and type(loss) is nn.MSELoss:
        return loss.reduction in {"mean", "none"}
    if isinstance(loss, functools.partial) and loss.func is F.mse_loss and not loss.args:
        options = dict(loss.keywords)
        return options.pop("reduction", "mean") in {"mean", "none"} and not options
    return loss is F.mse_loss


def _layers(model: nn.Module) -> tuple[bool, str, str]:
    """Whether the input is flattened first, and the names of the two linear layers.

    Raises:
        InputError: if the model is anything but such a chain.
    """
    try:
        graph = fx.Tracer().trace(model)
    except Exception as error:  # fx raises whatever the traced code raises on symbolic values
        raise InputError(
            f"{_EXPECTED}, got a model that cannot be traced ({type(error).__name__})"
        ) from error
    kinds: list[str] = []
    names: list[str] = []
    previous: fx.Node | None = None
    for node in graph.nodes:
        if node.op == "output":
            chained = node.args == (previous,)
        elif node.op == "placeholder":
            chained = previous is None
        else:
            chained = node.args[:1] == (previous,) and len(node.all_input_nodes) == 1
            kind = _kind(node, model)
            if kind == "linear":
                names.append(str(node.target))
            if kind != "identity":
                kinds.append(kind)
        if not chained:
            raise InputError(f"{_EXPECTED}, got something else at '{node.name}'")
        previous = node
    flatten = kinds[:1] == ["flatten"]
    if kinds[flatten:] != ["linear", "relu", "linear"]:
        raise InputError(f"{_EXPECTED}, got {', '.join(kinds) or 'nothing'}")
    return flatten, names[0], names[1]


def _kind(node: fx.Node, model: nn.Module) -> str:
    """What a step does: linear, relu, flatten, identity, or its own name."""
    if node.op == "call_module":
        layer = model.get_submodule(str(node.target))
        if type(layer) is nn.Linear:
            return "linear"
        if type(layer) is nn.ReLU:
            return "relu"
        if type(layer) is nn.Flatten and (layer.start_dim, layer.end_dim) == (1, -1):
            return "flatten"
        if type(layer) in (nn.Identity, nn.Dropout):  # no dropout where a criterion is evaluated
            return "identity"
        return type(layer).__name__
    if node.op == "call_function" and node.target in _RELU_FUNCTIONS:
        return "relu"
    if node.op == "call_method" and node.target == "relu":
        return "relu"
    if node.target in {torch.flatten, "flatten"} and node.args[1:] == (1,) and not node.kwargs:
        return "flatten"
    return node.name
