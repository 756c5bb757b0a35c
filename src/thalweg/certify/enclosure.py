"""Proved bounds of a criterion on one interval of a segment.

The parameters move along ``center + s * direction``, |s| <= halfwidth. The model and the loss of an
objective run once on Taylor models in s, chunk by chunk of examples; the sums over examples give a
line and a remainder for the criterion itself, hence a bound over the whole interval.

What is proved: a statement about the exact real function of the stored weights and data, rounding
of the bound's own computation included (:mod:`thalweg.certify.rounding` lists the assumptions).
Inference in float32 differs from that function by its own rounding.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call
from torch.overrides import TorchFunctionMode

from thalweg.certify.rounding import TINY, UNIT, charge
from thalweg.certify.rules_criterion import ErrorCounts, LossSums
from thalweg.certify.rules_linear import Products
from thalweg.certify.taylor import TaylorModel, UnsupportedOperation, as_model, locate
from thalweg.objective.batchnorm import tracked_layers

CHUNK_BYTES = 12 * 2**20
"""Float64 bytes of the largest tensor of a chunk, at most."""


@dataclass(frozen=True)
class Enclosure:
    """A proved enclosure of the criterion over an interval.

    Attributes:
        upper: the criterion is at most this for every |s| <= halfwidth; infinite where no bound
            is known.
        seen: the criterion at the centre is at least this.
        middle: the criterion at the centre is at most this.
        samples: examples that were bounded.
    """

    upper: float
    seen: float
    middle: float
    samples: int


def enclose(
    objective: Any,
    center: Tensor,
    direction: Tensor,
    halfwidth: float,
    *,
    spread: Tensor | None = None,
    examples: int | None = None,
) -> Enclosure:
    """Bound the criterion over all |s| <= halfwidth of ``center + s * direction``.

    Args:
        objective: model, loss and data; its float64 twin is taken where it is not float64.
        center: `[p]`, float64.
        direction: `[p]`, float64.
        halfwidth: of the interval of s, positive or zero.
        spread: `[p]`, how far the parameters may be from the line, elementwise; None: not at all.
        examples: bound the mean over the first so many examples only, as a forecast.

    Returns:
        The enclosure.

    Raises:
        UnsupportedOperation: for an operation without a rule, with its module's path.

    Example:
        >>> from torch import nn
        >>> from thalweg.objective import Objective
        >>> x = torch.linspace(-1, 1, 16).reshape(16, 1)
        >>> line = Objective(nn.Linear(1, 1, bias=False), nn.functional.mse_loss, train=(x, x))
        >>> one = torch.ones(1, dtype=torch.float64)
        >>> found = enclose(line, one, one, 0.5)
        >>> found.upper >= float((0.5 * x.double()).square().mean())
        True
    """
    twin = in_float64(objective)
    parameters = segment_parameters(twin, center, direction.to(torch.float64) * halfwidth, spread)
    return _enclose(twin, parameters, examples)


def _enclose(
    twin: Any, parameters: dict[str, TaylorModel], examples: int | None, size: int | None = None
) -> Enclosure:
    kind = twin.criterion.name
    errors, losses = ErrorCounts(), LossSums()
    loss = twin.criterion.per_example(twin.loss)
    count = 0
    with torch.no_grad():
        for inputs, target in _chunks(twin, examples, size):
            output = run(twin, parameters, inputs)
            if kind == "error_rate":
                errors.add(output, target)
            else:
                losses.add(_guarded(twin, loss, output, target), len(target))
            count += len(target)
    upper, seen, middle = (
        errors.result() if kind == "error_rate" else losses.result(count)
    )  # fmt: skip
    if kind == "perplexity":
        grow = 1 + 8 * UNIT
        upper, middle, seen = _exp(upper) * grow, _exp(middle) * grow, _exp(seen) / grow
    return Enclosure(upper, seen, middle, count)


def evaluate(objective: Any, theta: Tensor, examples: int | None = None) -> float:
    """The criterion at one point in float64, as the objective computes it.

    Args:
        objective: in float64.
        theta: `[p]`.
        examples: only the first so many; None: all.

    Returns:
        The criterion.
    """
    twin = in_float64(objective)
    parameters = twin.layout.unflatten(theta.to(torch.float64))
    loss = twin.criterion.per_example(twin.loss)
    sums, count = [], 0
    with torch.no_grad():
        for inputs, target in _chunks(twin, examples):
            arguments = inputs if isinstance(inputs, tuple) else (inputs,)
            value = loss(functional_call(twin.model, parameters, arguments), target)
            sums.append(float(value.mean()) * len(target))
            count += len(target)
    mean = math.fsum(sums) / count
    return _exp(mean) if twin.criterion.name == "perplexity" else mean


def _refuse_moving_statistics(objective: Any) -> None:
    """BatchNorm statistics that are estimated anew for every θ have no rule yet."""
    if getattr(objective, "calibration", None) is None:
        return
    for name in tracked_layers(objective.model):
        raise UnsupportedOperation("batch_norm", "statistics estimated anew for every θ", name)


def in_float64(objective: Any) -> Any:
    """The objective itself if its parameters are float64, else its float64 twin."""
    dtypes = {parameter.dtype for parameter in objective.model.parameters()}
    _refuse_moving_statistics(objective)
    return objective if dtypes == {torch.float64} else objective.double()


def segment_parameters(
    objective: Any, center: Tensor, slope: Tensor, spread: Tensor | None
) -> dict[str, TaylorModel]:
    """Parameters as Taylor models, by name.

    Args:
        objective: its layout splits the vectors.
        center: `[p]`.
        slope: `[p]`, change over half of the interval, as rounded.
        spread: `[p]` or None, distance to the line.

    Returns:
        Models that contain `center + s * slope`, |s| <= 1, and everything within `spread` of it.
    """
    slope = slope.to(torch.float64)
    remainder = charge(spread, 2, slope)
    unflatten = objective.layout.unflatten
    parts = [unflatten(part) for part in (center.to(torch.float64), slope, remainder)]
    models = {name: TaylorModel(*(part[name] for part in parts)) for name in parts[0]}
    for name, model in models.items():
        model.cache["parameter"] = name
    return models


def run(objective: Any, parameters: dict[str, TaylorModel], inputs: Any) -> TaylorModel:
    """Output of the model on a chunk, as a Taylor model.

    Args:
        objective: in float64.
        parameters: models by name.
        inputs: a tensor or a tuple of them.

    Returns:
        The output.

    Raises:
        UnsupportedOperation: with the path of the module.
    """
    arguments = inputs if isinstance(inputs, tuple) else (inputs,)
    try:
        output = functional_call(objective.model, dict(parameters), arguments)
    except UnsupportedOperation as error:
        path = locate(error, objective.model)
        raise UnsupportedOperation(error.operation, error.detail, path) from error
    if not isinstance(output, Tensor):
        raise UnsupportedOperation(type(output).__name__, "an output that is not one tensor", "")
    return as_model(output)


def _guarded(objective: Any, loss: Any, output: TaylorModel, target: Tensor) -> TaylorModel:
    try:
        return as_model(loss(output, target))
    except UnsupportedOperation as error:
        path = locate(error, objective.model) or "loss"
        raise UnsupportedOperation(error.operation, error.detail, path) from error


def _chunks(
    objective: Any, examples: int | None, size: int | None = None
) -> Iterator[tuple[Any, Tensor]]:
    split = objective.splits[objective.criterion.split]
    size = chunk_size(objective) if size is None else size
    for inputs, target in split.chunks(size if examples is None else min(size, examples)):
        yield inputs, target
        if examples is not None:
            examples -= len(target)
            if examples <= 0:
                return


def chunk_size(objective: Any) -> int:
    """Examples a chunk, from the largest tensor that the model makes of one example."""
    split = objective.splits[objective.criterion.split]
    inputs, _ = next(split.chunks(1))
    arguments = inputs if isinstance(inputs, tuple) else (inputs,)
    with torch.no_grad(), _Largest() as largest:
        objective.model(*arguments)
    numbers = max(largest.numbers, *(tensor.numel() for tensor in arguments), 1)
    return max(1, min(1024, CHUNK_BYTES // (8 * numbers)))


class _Largest(TorchFunctionMode):
    """Records the size of the largest tensor that any torch function returns."""

    numbers = 0

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            self.numbers = max(self.numbers, result.numel())
        return result


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf


class Segment:
    """A straight segment between two models, with what the bounds of its pieces share.

    Args:
        objective: in float64.
        theta_a: `[p]`, at t = 0.
        theta_b: `[p]`, at t = 1.
    """

    def __init__(self, objective: Any, theta_a: Tensor, theta_b: Tensor) -> None:
        self._objective = objective
        self._start = theta_a.to(torch.float64)
        end = theta_b.to(torch.float64)
        self._direction = end - self._start
        # Points and directions are rounded; the exact segment is within this of what is computed.
        self._spread = (self._start.abs() + end.abs()).mul_(12 * UNIT).add_(TINY)
        split = objective.splits[objective.criterion.split]
        inputs, _ = next(split.chunks(1))
        data = inputs if isinstance(inputs, tuple) else (inputs,)
        room = [len(split) * sum(tensor.numel() for tensor in data)]
        unflatten = objective.layout.unflatten
        parts = [unflatten(v) for v in (self.at(0.5), self._direction, self._spread)]
        self._products = {
            name: Products(weight, parts[1][name], parts[2][name], room)
            for name, weight in parts[0].items()
            if weight.ndim == 2
        }
        self._size = chunk_size(objective)
        self._storages = {tensor.untyped_storage().data_ptr() for tensor in data}

    def at(self, t: float) -> Tensor:
        """Parameters `[p]` at t, as rounded."""
        return torch.add(self._start, self._direction, alpha=t)

    def enclose(self, left: float, right: float, examples: int | None = None) -> Enclosure:
        """Bound the criterion on a piece.

        Args:
            left: t in [0, 1] where it begins.
            right: t where it ends.
            examples: see :func:`enclose`.

        Returns:
            The enclosure, valid for the exact segment.
        """
        middle = (left + right) / 2
        halfwidth = (right - left) / 2 * (1 + 8 * UNIT) + UNIT
        center, direction = self.at(middle), self._direction * halfwidth
        parameters = segment_parameters(self._objective, center, direction, self._spread)
        for name, products in self._products.items():
            share = products.at(middle - 0.5, halfwidth, self._storages)
            parameters[name].cache["products"] = share
        return _enclose(self._objective, parameters, examples, self._size)
