"""Evaluation at many points of a line or plane of parameter space (a *flat*).

Where the model's structure allows it, the first layer is taken once at a point and once along each
direction (:mod:`thalweg.objective.affine`), and every point costs the rest of the network alone.
Elsewhere, and where the sum of the responses would cancel, points are evaluated one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from thalweg.errors import InputError
from thalweg.objective.affine import FirstLayer, first_layer
from thalweg.objective.agreement import EXAMPLES, reuse_agrees, some
from thalweg.objective.criterion import Criterion, across_models
from thalweg.objective.objective import Evaluation, Objective
from thalweg.objective.planning import NoPlan, Plan, power_of_two
from thalweg.objective.precision import exact_cudnn
from thalweg.objective.rest import RESTS, Across, Job, Piece
from thalweg.objective.splits import Inputs, Split
from thalweg.objective.strategies import as_tuple
from thalweg.objective.workers import in_threads, workers
from thalweg.parameters import Layout

# Bytes of models evaluated together where nothing is reused.
_STACK_BYTES = 1 << 28
# Bytes of first-layer responses kept at a time, and of sums of them.
_RESPONSE_BYTES = 1 << 28
_SUM_BYTES = 1 << 26
# Points for a response above which a layer of few inputs is reused.
_NARROW = 64
# How often models may leave on the way through the data.
_LOOKS = 8
# How far the terms of a sum of responses may exceed it: three bits of the result.
_CANCELLATION = 8.0
# Models carried out together and examples of a piece, among which a plan is chosen.
_LOOPS = ((8, 128), (4, 256), (8, 64), (16, 16))
_STACKS = ((16, 256), (64, 64), (256, 256), (4, 1024), (8, 128))
_MODELS = 256
# Pieces of a measurement: as many as fall out of a cache that a single one would stay in.
_PIECES = 4

Chunk = tuple[Inputs, Tensor]
"""Inputs and targets of some examples."""

_cuts: WeakKeyDictionary[nn.Module, FirstLayer | None] = WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class Flat:
    """Points of an affine subspace of parameter space.

    Attributes:
        basis: `[1 + m, p]`, float64: a point amid the points, then the directions.
        coefficients: `[k, 1 + m]`, float64: ones, then coordinates relative to that point.
    """

    basis: Tensor
    coefficients: Tensor

    @classmethod
    def through(cls, origin: Tensor, directions: Tensor, coordinates: Tensor) -> Flat:
        """The points `origin + coordinates @ directions`.

        Args:
            origin: `[p]`.
            directions: `[m, p]`.
            coordinates: `[k, m]`.

        Raises:
            InputError: if the shapes do not fit, or there is no point or no direction.
        """
        fits = directions.ndim == coordinates.ndim == 2 and origin.ndim == 1
        if (
            not fits
            or directions.shape[1] != len(origin)
            or coordinates.shape[1] != len(directions)
            or not coordinates.numel()
        ):
            raise InputError(
                "expected an origin [p], directions [m, p] and coordinates [k, m] with at least "
                f"one of each, got shapes {list(origin.shape)}, {list(directions.shape)} and "
                f"{list(coordinates.shape)}"
            )
        offsets = coordinates.to(origin.device, torch.float64)
        directions = directions.to(origin.device, torch.float64)
        # Amid the points the terms of a sum are smallest, and so is its rounding; a point far
        # away from all others may not take the middle with it.
        middle = offsets.median(0).values
        centre = origin.to(torch.float64) + middle @ directions
        ones = torch.ones_like(offsets[:, :1])
        return cls(
            basis=torch.cat([centre[None], directions]),
            coefficients=torch.cat([ones, offsets - middle], dim=1),
        )

    def __len__(self) -> int:
        return len(self.coefficients)

    def take(self, rows: Tensor | slice) -> Flat:
        """Some of the points."""
        return Flat(self.basis, self.coefficients[rows])

    def stack(self, dtype: torch.dtype) -> Tensor:
        """The points themselves, `[k, p]`, rounded once."""
        return (self.coefficients @ self.basis).to(dtype)


@exact_cudnn
def evaluate_on(
    objective: Objective,
    origin: Tensor,
    directions: Tensor,
    coordinates: Tensor,
    split: str,
    measures: tuple[Criterion, ...],
    *,
    ceiling: float | None = None,
) -> Evaluation:
    """Measures at the points `origin + coordinates @ directions`: many points at little cost each.

    Args:
        objective: whose model, loss and data.
        origin: `[p]`.
        directions: `[m, p]`.
        coordinates: `[k, m]`.
        split: name of the split; the measures' own splits are not looked at.
        measures: what to take; the first is held against the ceiling.
        ceiling: a level above which the exact value is of no interest, as in
            :meth:`Objective.criterion_of`.

    Returns:
        Values `[k, len(measures)]`, those of :meth:`Objective.evaluate` to rounding. The few runs
        of a first layer along the directions are not counted among the samples.

    Raises:
        InputError: if the shapes do not fit, or there is no point or no direction.

    Example:
        >>> x, y = torch.eye(2), torch.zeros(2, 1)
        >>> model = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
        >>> objective = Objective(model, nn.functional.mse_loss, train=(x, y))
        >>> zero, ones = torch.zeros(13), torch.ones(1, 13)
        >>> t = torch.linspace(0, 1, 9)[:, None]
        >>> evaluate_on(objective, zero, ones, t, "train", (Criterion(),)).values.shape
        torch.Size([9, 1])
    """
    flat = Flat.through(origin.to(objective.device), directions, coordinates)
    cut = _cut(objective)
    if cut is None or len(flat) <= _least_points(cut, len(flat.basis)):
        return _plain(objective, flat, split, measures, ceiling)
    stable = _is_stable(flat, cut, objective).cpu()
    parts = []
    if stable.any():
        own = flat.take(stable)
        try:
            found = _reusing(objective, cut, own, split, measures, ceiling)
        except NoPlan:
            # Near a loss of zero its own rounding is as large: no way to run the rest in parts
            # agrees with the whole closely enough to be trusted.
            found = _plain(objective, own, split, measures, ceiling)
        parts.append((stable, found))
    if not stable.all():
        parts.append((~stable, _plain(objective, flat.take(~stable), split, measures, ceiling)))
    values = torch.empty(len(flat), len(measures), dtype=torch.float64)
    complete = torch.empty(len(flat), dtype=torch.bool)
    for rows, part in parts:
        values[rows], complete[rows] = part.values, part.complete
    return Evaluation(values, complete, len(flat), sum(part.samples for _, part in parts))


def _cut(objective: Objective) -> FirstLayer | None:
    """The first layer to reuse; None where there is none, or the user fixed how to evaluate."""
    if objective.strategy is not None or objective._statistics is not None:
        return None
    model = objective._fast_model
    if model not in _cuts:
        _cuts[model] = first_layer(model, objective.layout.names)
    return _cuts[model]


def _least_points(cut: FirstLayer, responses: int) -> int:
    """Points up to which each of them alone is no dearer than the responses and their sums."""
    # Where the layer sees hardly more numbers than there are responses, nothing but the handling
    # of many points at once is gained.
    narrow = cut.layer.weight[0].numel() <= responses
    return responses * (_NARROW if narrow else 2)


def _is_stable(flat: Flat, cut: FirstLayer, objective: Objective) -> Tensor:
    """Points `[k]` where the first layer's weights are no small difference of large terms."""
    named = objective.layout.unflatten(flat.basis)
    weights = torch.cat([named[name].flatten(1) for name in cut.names.values()], dim=1)
    # |Σ c_j w_j|² = cᵀ G c with the products G of the terms among each other.
    products = weights @ weights.T
    sums = ((flat.coefficients @ products) * flat.coefficients).sum(1).clamp_min(0).sqrt()
    terms = flat.coefficients.abs() @ products.diagonal().sqrt()
    return terms <= _CANCELLATION * sums


def _plain(
    objective: Objective,
    flat: Flat,
    split: str,
    measures: tuple[Criterion, ...],
    ceiling: float | None,
) -> Evaluation:
    """Point by point, in stacks that fit in memory."""
    rows = max(1, _STACK_BYTES // (flat.basis.shape[1] * flat.basis.dtype.itemsize))
    parts = [
        objective.evaluate(
            flat.take(slice(i, i + rows)).stack(objective.layout.dtype),
            split,
            measures,
            ceiling=ceiling,
        )
        for i in range(0, len(flat), rows)
    ]
    return Evaluation(
        values=torch.cat([part.values for part in parts]),
        complete=torch.cat([part.complete for part in parts]),
        evaluations=len(flat),
        samples=sum(part.samples for part in parts),
    )


def _reusing(
    objective: Objective,
    cut: FirstLayer,
    flat: Flat,
    split: str,
    measures: tuple[Criterion, ...],
    ceiling: float | None,
) -> Evaluation:
    """All points from the responses of the first layer, chunk of data by chunk."""
    data, first = objective.splits[split], measures[0]
    work = objective._evaluation(measures)
    job = Job(cut, work.head, _across(objective, measures, data.target))
    points = _Points.of(objective, cut, flat)
    names = "+".join(measure.name for measure in measures)
    # Bytes of the first layer's output on one example.
    one = job.cut.responses(points.first[:1], as_tuple(data.take(1).select(slice(None))[0]))
    each = one.numel() * one.element_size()

    def agrees(plan: Plan) -> bool:
        rows = torch.tensor(some(len(flat)), device=flat.basis.device)
        inputs, target = data.take(EXAMPLES).select(slice(None))
        values = points.values(job, _pieces(job, points, [(inputs, target)], plan), plan, rows)
        stack = flat.take(rows).stack(objective.layout.dtype)
        return reuse_agrees(values, work, stack, inputs, target)

    plan = _plan(objective, job, points, data, f"{split} {names}", each, agrees)
    together = max(1, _RESPONSE_BYTES // (each * len(points.first) * plan.examples))
    level = None
    if ceiling is not None and first.is_nonnegative(objective.loss):
        level = first.unfinish(ceiling)
    n, k = len(data), len(flat)
    alive = torch.arange(k, device=flat.basis.device)
    sums = torch.zeros(k, len(measures), dtype=torch.float64, device=flat.basis.device)
    threads = workers(alive.device)
    samples = done = 0
    for chunks in _batches(data, plan.examples, together, look=level is not None):
        pieces = _pieces(job, points, chunks, plan)
        groups = alive.split(plan.models)
        values = in_threads(partial(points.values, job, pieces, plan), groups, threads)
        sums[alive] += torch.cat(values)
        size = sum(len(piece.target) for piece in pieces)
        samples += size * len(alive)
        done += size
        if level is not None and done < n:
            alive = alive[sums[alive, 0] / n <= level]
            if not len(alive):
                break
    complete = torch.zeros(k, dtype=torch.bool)
    complete[alive.cpu()] = True
    values = [measure.finish(sums[:, i] / n) for i, measure in enumerate(measures)]
    return Evaluation(torch.stack(values, dim=1).cpu(), complete, k, samples)


@dataclass(frozen=True, eq=False)
class _Points:
    """Points of a flat, cut in two like the model.

    Attributes:
        first: parameters of the first layer at a point and along each direction, in its dtype.
        rest: `[1 + m, q]`, float64: all other parameters, joined.
        layout: names and shapes of the rest.
        coefficients: `[k, 1 + m]`.
    """

    first: list[dict[str, Tensor]]
    rest: Tensor
    layout: Layout
    coefficients: Tensor

    @classmethod
    def of(cls, objective: Objective, cut: FirstLayer, flat: Flat) -> _Points:
        whole = objective.layout
        named = whole.unflatten(flat.basis)
        first = [
            {name: named[name][i].to(whole.dtype) for name in cut.names.values()}
            for i in range(len(flat.basis))
        ]
        shapes = dict(zip(whole.names, whole.shapes, strict=True))
        names = tuple(dict.fromkeys(cut.rest_names.values()))
        layout = Layout(names, tuple(shapes[name] for name in names), whole.dtype)
        parts = [flat.basis[:, :0], *(named[name].flatten(1) for name in names)]
        return cls(first, torch.cat(parts, dim=1), layout, flat.coefficients)

    def values(self, job: Job, pieces: Sequence[Piece], plan: Plan, rows: Tensor) -> Tensor:
        """Values `[rows, q]` of some models on some pieces."""
        coefficients = self.coefficients[rows]
        tensors = self.layout.unflatten((coefficients @ self.rest).to(self.layout.dtype))
        return RESTS[plan.strategy].values(job, tensors, coefficients, pieces)


def _pieces(job: Job, points: _Points, chunks: Sequence[Chunk], plan: Plan) -> list[Piece]:
    """Chunks of data with the first layer's responses to them."""

    def piece(chunk: Chunk) -> Piece:
        inputs, target = as_tuple(chunk[0]), chunk[1]
        with torch.inference_mode():
            responses = RESTS[plan.strategy].prepare(job.cut.responses(points.first, inputs))
        return Piece(responses, inputs, target)

    return in_threads(piece, chunks, workers(points.rest.device))


def _batches(data: Split, size: int, together: int, *, look: bool) -> Iterator[list[Chunk]]:
    """Chunks of `size` examples, `together` at a time, fewer where models may leave between."""
    chunks = list(data.chunks(size))
    if look:
        together = min(together, max(1, len(chunks) // _LOOKS))
    for start in range(0, len(chunks), together):
        yield chunks[start : start + together]


def _plan(
    objective: Objective,
    job: Job,
    points: _Points,
    data: Split,
    key: str,
    each: int,
    agrees: Callable[[Plan], bool],
) -> Plan:
    """The fastest way to run the rest, by a short measurement."""
    models = len(points.coefficients)
    prepared: dict[tuple[str, int], list[Piece]] = {}

    def run(plan: Plan) -> int:
        few = data.take(plan.examples * _PIECES)
        way = plan.strategy, plan.examples
        if way not in prepared:
            prepared.clear()
            prepared[way] = _pieces(job, points, list(few.chunks(plan.examples)), plan)
        rows = torch.arange(min(plan.models, models), device=points.coefficients.device)
        groups = [rows] * workers(rows.device)
        in_threads(partial(points.values, job, prepared[way], plan), groups, len(groups))
        return len(groups) * len(rows) * len(few)

    sizes = f"of {power_of_two(len(data))} points {min(power_of_two(models), _MODELS)}"
    candidates = _candidates(job, models, len(data), each)
    return objective._engine.planner.choose(f"rest {key} {sizes}", candidates, run, agrees)


def _candidates(job: Job, models: int, examples: int, each: int) -> Iterator[Plan]:
    """Plans to try, a loop over models first, which works for every network.

    Args:
        job: what to carry out.
        models: points.
        examples: of the split.
        each: bytes of the first layer's output on one example.
    """
    ways = {"rest-loop": _LOOPS, "rest-vmap" if job.cut.chain is None else "rest-stack": _STACKS}
    found = [
        Plan(way, min(together, models), min(size, examples))
        for way, sizes in ways.items()
        for together, size in sizes
        if together * size * each <= _SUM_BYTES
    ]
    yield from dict.fromkeys(found or [Plan("rest-loop", 1, 1)])


def _across(objective: Objective, measures: tuple[Criterion, ...], target: Tensor) -> Across | None:
    """All measures of many models at once, where each allows it."""
    functions = [across_models(measure, objective.loss, target) for measure in measures]
    found = [function for function in functions if function is not None]
    if len(found) < len(functions):
        return None
    return lambda outputs, part: torch.stack(
        [f(outputs, part).to(torch.float64).sum(1) for f in found], dim=1
    )
