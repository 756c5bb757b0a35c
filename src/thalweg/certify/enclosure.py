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
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from thalweg.certify.chunks import EVALUATED_BYTES, chunk_size
from thalweg.certify.products import Chunk, Products
from thalweg.certify.rearranged import original, rearranged
from thalweg.certify.rounding import TINY, UNIT, charge
from thalweg.certify.rules_criterion import ErrorTally, LossTally, Settled, Tally, terms_of
from thalweg.certify.taylor import TaylorModel, UnsupportedOperation, as_model, locate
from thalweg.objective.batchnorm import tracked_layers
from thalweg.objective.precision import without_cudnn

Parameters = dict[str, TaylorModel]


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
        examples: bound the mean over the first so many examples only.

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
    twin = rearranged(in_float64(objective))
    parameters = segment_parameters(twin, center, direction.to(torch.float64) * halfwidth, spread)
    total = len(_split(twin)) if examples is None else min(examples, len(_split(twin)))
    ids = torch.arange(total, device=_split(twin).target.device)
    found = tally(twin, lambda chunk: parameters, ids, Settled(), total, chunk_size(twin))
    return Enclosure(*found.bound(), total)


def tally(
    objective: Any,
    parameters: Callable[[Chunk], Parameters],
    ids: Tensor,
    settled: Settled,
    total: int,
    size: int,
    *,
    separable: bool = False,
) -> Tally:
    """Run model and criterion on Taylor models, chunk by chunk, and collect what they say.

    Args:
        objective: in float64.
        parameters: models by name, for a chunk.
        ids: `[m]`, examples to go through, in increasing order.
        settled: what the others add.
        total: number of all examples.
        size: examples a chunk.
        separable: whether the loss is known to be a mean of one value an example.

    Raises:
        UnsupportedOperation: for an operation without a rule, with its module's path.
    """
    kind = objective.criterion.name
    if kind == "error_rate":
        found = ErrorTally(settled, total)
    else:
        found = LossTally(settled, total, perplexity=kind == "perplexity", separable=separable)
    loss = objective.criterion.per_example(objective.loss)
    with torch.no_grad():
        for part, inputs, target in _chunks(objective, ids, size):
            given = inputs if isinstance(inputs, tuple) else (inputs,)
            models = parameters(Chunk(given, part, len(_split(objective))))
            # The output is let go of as soon as the loss of it is known.
            if isinstance(found, ErrorTally):
                found.add(run(objective, models, inputs), target, part)
            else:
                found.add(_guarded(objective, loss, run(objective, models, inputs), target), part)
    return found


def evaluate(objective: Any, theta: Tensor, examples: int | None = None) -> float:
    """The criterion at one point in float64, as the objective computes it.

    Args:
        objective: in float64.
        theta: `[p]`.
        examples: only the first so many; None: all.

    Returns:
        The criterion.
    """
    total = len(_split(objective))
    ids = torch.arange(total if examples is None else min(examples, total))
    mean = mean_at(objective, theta, ids)
    if objective.criterion.name != "perplexity":
        return mean
    return math.exp(mean) if mean < 700 else math.inf


def mean_at(objective: Any, theta: Tensor, ids: Tensor) -> float:
    """Mean over some examples of what the criterion averages, at one point in float64.

    Args:
        objective: in float64.
        theta: `[p]`.
        ids: `[m]`, of the examples.
    """
    twin = in_float64(objective)
    parameters = twin.layout.unflatten(theta.to(torch.float64))
    loss = twin.criterion.per_example(twin.loss)
    sums = []
    with torch.no_grad():
        for _, inputs, target in _chunks(twin, ids, chunk_size(twin, EVALUATED_BYTES)):
            value = loss(_output(twin, parameters, inputs), target)
            sums.append(float(value.mean()) * len(target))
    return math.fsum(sums) / len(ids)


def _output(objective: Any, parameters: dict[str, Tensor], inputs: Any) -> Tensor:
    """What the model makes of inputs, at one point."""
    arguments = inputs if isinstance(inputs, tuple) else (inputs,)
    return functional_call(objective.model, parameters, arguments)


def in_float64(objective: Any) -> Any:
    """The objective itself if its parameters are float64, else its float64 twin.

    Raises:
        UnsupportedOperation: if it has BatchNorm statistics that are estimated anew for every θ,
            which have no rule.
    """
    dtypes = {parameter.dtype for parameter in objective.model.parameters()}
    if getattr(objective, "calibration", None) is not None:
        for name in tracked_layers(objective.model):
            raise UnsupportedOperation("batch_norm", "statistics estimated anew for every θ", name)
    return objective if dtypes == {torch.float64} else objective.double()


def segment_parameters(
    objective: Any, center: Tensor, slope: Tensor, spread: Tensor | None
) -> Parameters:
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


def run(objective: Any, parameters: Parameters, inputs: Any) -> TaylorModel:
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
        # Recurrent layers would lay out their weights for cuDNN, which models are not for.
        with without_cudnn:
            output = functional_call(objective.model, dict(parameters), arguments)
    except UnsupportedOperation as error:
        written = original(objective)
        if written is not objective:  # its own code knows in which module it is
            return run(written, parameters, inputs)
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


def is_separable(objective: Any, theta: Tensor) -> bool:
    """Whether the loss of a chunk is the plain mean of the losses of its examples.

    Three examples together are held against each of them alone: a loss with weights, or one whose
    terms stand in another order, does not pass, nor does a model that looks at several at once.

    Args:
        objective: in float64.
        theta: `[p]`, where to try.

    Raises:
        UnsupportedOperation: for an operation of the loss without a rule.
    """
    if objective.criterion.name == "error_rate":
        return True
    few = min(3, len(_split(objective)))
    parameters = objective.layout.unflatten(theta.to(torch.float64))
    loss = objective.criterion.per_example(objective.loss)

    def terms(examples: slice) -> TaylorModel | None:
        inputs, target = _split(objective).select(examples)
        output = as_model(_output(objective, parameters, inputs))
        return terms_of(_guarded(objective, loss, output, target), len(target))

    with torch.no_grad():
        together = terms(slice(0, few))
        alone = [terms(slice(i, i + 1)) for i in range(few)]
    if together is None or any(one is None for one in alone):
        return False
    values = torch.cat([one.value for one in alone if one is not None])
    return torch.allclose(together.value, values, rtol=1e-9, atol=1e-12)


def _split(objective: Any) -> Any:
    return objective.splits[objective.criterion.split]


def _chunks(objective: Any, ids: Tensor, size: int) -> Iterator[tuple[Tensor, Any, Tensor]]:
    """Ids, inputs and targets, `size` examples at a time; neighbours are views of the data."""
    for part in ids.split(size):
        first, last = int(part[0]), int(part[-1])
        run_of_ids = slice(first, last + 1) if last - first + 1 == len(part) else part
        inputs, target = _split(objective).select(run_of_ids)
        yield part, inputs, target


class Segment:
    """A straight segment between two models, with what the bounds of its pieces share.

    Args:
        objective: in float64.
        theta_a: `[p]`, at t = 0.
        theta_b: `[p]`, at t = 1.
    """

    def __init__(self, objective: Any, theta_a: Tensor, theta_b: Tensor) -> None:
        self._objective = objective = rearranged(objective)
        self._start = theta_a.to(torch.float64)
        end = theta_b.to(torch.float64)
        self._direction = end - self._start
        # Points and directions are rounded; the exact segment is within this of what is computed.
        self._spread = (self._start.abs() + end.abs()).mul_(12 * UNIT).add_(TINY)
        split = _split(objective)
        self.total = len(split)
        inputs, _ = split.select(slice(0, 1))
        data = inputs if isinstance(inputs, tuple) else (inputs,)
        room = [self.total * sum(tensor.numel() for tensor in data)]
        unflatten = objective.layout.unflatten
        parts = [unflatten(v) for v in (self.at(0.5), self._direction, self._spread)]
        self._products = {
            name: Products(weight, parts[1][name], parts[2][name], room)
            for name, weight in parts[0].items()
            if weight.ndim == 2
        }
        self._size = chunk_size(objective)
        self._separable = is_separable(objective, self._start)
        self._all = torch.arange(self.total, device=split.target.device)

    def at(self, t: float) -> Tensor:
        """Parameters `[p]` at t, as rounded."""
        return torch.add(self._start, self._direction, alpha=t)

    def enclose(
        self, left: float, right: float, ids: Tensor | None = None, settled: Settled | None = None
    ) -> tuple[Tally, int]:
        """Bound the criterion on a piece.

        Args:
            left: t in [0, 1] where it begins.
            right: t where it ends.
            ids: `[m]`, increasing: the examples to go through; None: all.
            settled: what the others add on this piece.

        Returns:
            What is known of every example gone through, valid for the exact segment; and how many
            they were.
        """
        middle = (left + right) / 2
        halfwidth = (right - left) / 2 * (1 + 8 * UNIT) + UNIT
        center, direction = self.at(middle), self._direction * halfwidth
        parameters = segment_parameters(self._objective, center, direction, self._spread)

        def with_products(chunk: Chunk) -> Parameters:
            for name, products in self._products.items():
                share = products.at(middle - 0.5, halfwidth, chunk)
                parameters[name].cache["products"] = share
            return parameters

        ids = self._all if ids is None else ids
        found = tally(
            self._objective, with_products, ids, settled or Settled(), self.total, self._size,
            separable=self._separable,
        )  # fmt: skip
        return found, len(ids)

    def pilot(self, left: float, right: float, examples: int) -> Tally:
        """What the first so many examples say of a piece, as if they were all."""
        middle, halfwidth = (left + right) / 2, (right - left) / 2
        parameters = segment_parameters(
            self._objective, self.at(middle), self._direction * halfwidth, self._spread
        )
        return tally(
            self._objective, lambda chunk: parameters, self._all[:examples], Settled(), examples,
            self._size, separable=self._separable,
        )  # fmt: skip
