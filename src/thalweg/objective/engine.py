"""The engine: carries out work on stacks of models, chunk by chunk, by the plan that is fastest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor

from thalweg.errors import InputError
from thalweg.objective.agreement import gradients_agree, values_agree
from thalweg.objective.planning import Plan, Planner, power_of_two
from thalweg.objective.splits import Inputs, Split
from thalweg.objective.strategies import STRATEGIES, Work, as_tuple

# Examples of a chunk, and models carried out together, among which a plan is chosen.
_CHUNKS = (256, 64, 16, 1024, 2560, 8192)
_MODELS = 64
# Models × examples beyond which activations fall out of every cache.
_MOST_TOGETHER = 1 << 17
# Examples to look at before a guess.
_LOOK = 512

# Parameters × examples that cost no more than the calls of a look.
_AT_ONCE = 1 << 23

BuffersOf = Callable[[Tensor], dict[str, Tensor]]
"""Buffers that depend on θ `[p]`: the statistics of BatchNorm."""


@dataclass(frozen=True)
class Means:
    """Means over the examples of a split, of a stack of models.

    Attributes:
        values: `[k, q]`, float64.
        complete: `[k]`, bool: whether every example was looked at.
        samples: models × examples looked at.
    """

    values: Tensor
    complete: Tensor
    samples: int


@dataclass(frozen=True)
class Ceiling:
    """A level above which an exact mean is of no interest.

    Attributes:
        level: `[k]`, of the mean of the first value of each model.
        proof: no example's value is negative, so that a partial sum proves the mean above.
        guess: leave also when a first part of the examples puts the mean above by more than
            three standard errors.
    """

    level: Tensor
    proof: bool
    guess: bool


class Engine:
    """Evaluates and differentiates stacks of models.

    Args:
        planner: chooses strategies and chunk sizes.
        buffers_of: buffers that depend on θ; None where there are none.
        whole_batches: gradients need the minibatch in one piece (statistics of a batch).
    """

    def __init__(
        self, planner: Planner, buffers_of: BuffersOf | None, *, whole_batches: bool
    ) -> None:
        self.planner = planner
        self._buffers_of = buffers_of
        self._whole_batches = whole_batches
        self._gradient_plans: dict[tuple[int, int], Plan] = {}

    def means(
        self, work: Work, stack: Tensor, data: Split, key: str, ceiling: Ceiling | None = None
    ) -> Means:
        """Means over a split of what the work's head sums over a chunk.

        Args:
            work: its head returns sums over the examples of a chunk, `[q]`.
            stack: `[k, p]`.
            data: the split.
            key: names the head, for the choice of a plan.
            ceiling: where to stop early.

        Raises:
            InputError: if the stack is empty.
        """
        if not len(stack):
            raise InputError("expected at least one model to evaluate, got an empty stack")
        plan = self._evaluation_plan(work, stack, data, key)
        groups = [
            self._means_of_group(
                work, stack[rows], data, plan,
                ceiling and replace(ceiling, level=ceiling.level[rows]),
            )
            for rows in _groups(len(stack), plan)
        ]  # fmt: skip
        return Means(
            values=torch.cat([group.values for group in groups]),
            complete=torch.cat([group.complete for group in groups]),
            samples=sum(group.samples for group in groups),
        )

    def gradients(
        self, work: Work, stack: Tensor, batch: tuple[Inputs, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Gradients `[k, p]` and means `[k]` of the head's first value, a mean over a chunk.

        Args:
            work: what to differentiate.
            stack: `[k, p]`.
            batch: one minibatch.
        """
        size, models = len(batch[1]), _bucket(len(stack))
        plan = self._gradient_plans.get((size, models))
        if plan is None:
            plan = self._gradient_plan(work, stack[:models], batch)
            self._gradient_plans[size, models] = plan
        groups = _groups(len(stack), plan)
        if len(groups) == 1:
            return _gradients_of_group(work, stack, batch, plan)
        parts = [_gradients_of_group(work, stack[rows], batch, plan) for rows in groups]
        return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])

    def _means_of_group(
        self, work: Work, stack: Tensor, data: Split, plan: Plan, ceiling: Ceiling | None
    ) -> Means:
        """Models carried out together; each leaves once it is known to be above the ceiling."""
        strategy = STRATEGIES[plan.strategy]
        buffers = self._buffers(stack)
        n, k = len(data), len(stack)
        alive = torch.arange(k, device=stack.device)
        sums = squares = torch.zeros(0)
        complete = torch.ones(k, dtype=torch.bool, device=stack.device)
        seen = torch.zeros(k, dtype=torch.float64, device=stack.device)
        done = samples = chunks = 0
        # Where a model may leave early, the first looks are short, unless all is done in one go.
        short = ceiling is not None and stack.numel() * n > _AT_ONCE
        looks = (_LOOK // 2, _LOOK // 2) if short else ()
        for inputs, target in data.chunks(plan.examples, first=looks):
            rows = stack if len(alive) == k else stack[alive]
            own = [buffers[i] for i in alive.tolist()] if buffers else []
            part = strategy.values(work, rows, own, inputs, target)
            if not done:
                sums = torch.zeros(k, part.shape[1], dtype=torch.float64, device=stack.device)
                squares = torch.zeros_like(sums[:, 0])
            size = len(target)
            chunks += 1
            done += size
            samples += size * len(alive)
            sums[alive] += part
            squares[alive] += part[:, 0] ** 2 / size
            seen[alive] = done
            if ceiling is None or done == n:
                continue
            over = _over(ceiling, alive, sums[alive, 0], squares[alive], done, n, chunks)
            if over.any():
                complete[alive[over]] = False
                alive = alive[~over]
                if not len(alive):
                    break
        # A model that left on a proof is above the level by what it has; on a guess, by its mean.
        divisor = seen if ceiling is not None and ceiling.guess else torch.full_like(seen, n)
        return Means(sums / divisor[:, None], complete, samples)

    def _buffers(self, stack: Tensor) -> list[dict[str, Tensor]]:
        return [] if self._buffers_of is None else [self._buffers_of(row) for row in stack]

    def _evaluation_plan(self, work: Work, stack: Tensor, data: Split, key: str) -> Plan:
        models = _bucket(len(stack))
        rows = stack[:models]
        buffers: list[dict[str, Tensor]] = []

        def run(plan: Plan) -> int:
            group, part = rows[: plan.models], data.take(plan.examples)
            if not buffers:
                buffers.extend(self._buffers(rows))
            STRATEGIES[plan.strategy].values(
                work, group, buffers[: len(group)], *part.select(slice(None))
            )
            return len(group) * len(part)

        def agrees(plan: Plan) -> bool:
            group = rows[: plan.models]
            if not buffers:
                buffers.extend(self._buffers(rows))
            few = data.take(plan.examples).select(slice(None))
            return values_agree(plan.strategy, work, group, buffers[: len(group)], *few)

        candidates = _candidates(models, len(data), _CHUNKS, self.planner.fixed)
        return self.planner.choose(
            f"evaluate {key} of {power_of_two(len(data))} models {models}", candidates, run, agrees
        )

    def _gradient_plan(self, work: Work, stack: Tensor, batch: tuple[Inputs, Tensor]) -> Plan:
        models, size = len(stack), len(batch[1])

        def run(plan: Plan) -> int:
            devices = [stack.device] if stack.device.type == "cuda" else []
            with torch.random.fork_rng(devices=devices):
                _gradients_of_group(work, stack[: plan.models], batch, plan)
            return min(plan.models, models) * size

        def agrees(plan: Plan) -> bool:
            devices = [stack.device] if stack.device.type == "cuda" else []
            with torch.random.fork_rng(devices=devices):
                return gradients_agree(plan.strategy, work, stack[: plan.models], *batch)

        # A part that is more than half of a batch leaves another one: twice the work around both.
        parts = () if self._whole_batches else (part for part in _CHUNKS if 2 * part <= size)
        chunks = (size, *parts)
        candidates = _candidates(models, size, chunks, self.planner.fixed)
        return self.planner.choose(
            f"gradients batch {size} models {models}", candidates, run, agrees
        )


def _gradients_of_group(
    work: Work, stack: Tensor, batch: tuple[Inputs, Tensor], plan: Plan
) -> tuple[Tensor, Tensor]:
    strategy = STRATEGIES[plan.strategy]
    if plan.examples >= len(batch[1]):
        gradients, values = strategy.gradients(work, stack, *batch)
        return gradients, values[:, 0].double()
    whole = Split("minibatch", as_tuple(batch[0]), batch[1])
    total: Tensor | None = None
    losses = torch.zeros(len(stack), device=stack.device, dtype=torch.float64)
    for inputs, target in whole.chunks(plan.examples):
        gradient, value = strategy.gradients(work, stack, inputs, target)
        share = len(target) / len(whole)
        total = gradient.mul_(share) if total is None else total.add_(gradient, alpha=share)
        losses += value[:, 0] * share
    if total is None:
        raise InputError("expected a minibatch with at least one example, got none")
    return total, losses


def _candidates(
    models: int, examples: int, chunks: tuple[int, ...], fixed: str | None
) -> Iterator[Plan]:
    """Plans to try: the plain loop first, which works for every model.

    Then what is fastest by far where it applies, and refuses at once where it does not: the time
    for measuring may run out before the rest.
    """
    sizes = list(dict.fromkeys(min(size, examples) for size in chunks))
    yield Plan("loop", 1, sizes[0])
    yield from _stacked("dense", models, sizes)
    for size in sizes[1:]:
        yield Plan("loop", 1, size)
    # Twice as many models as threads: enough to go round, few enough to be measured.
    threads = torch.get_num_threads()
    some = min(models, 2 * threads)
    if min(threads, models) > 1 or fixed == "threads":
        for size in sizes:
            yield Plan("threads", some, size)
    yield from _stacked("vmap", models, sizes)


def _stacked(strategy: str, models: int, sizes: list[int]) -> Iterator[Plan]:
    for together in dict.fromkeys((min(models, 16), models, min(models, 4))):
        for size in sizes:
            if together * size <= _MOST_TOGETHER:
                yield Plan(strategy, together, size)


def _groups(models: int, plan: Plan) -> list[slice]:
    """Groups of models carried out together, of even size, none below that of the plan.

    A plan is measured for a power of two: one call for a few more models costs less than two.
    """
    count = 1 if plan.models > models else models // plan.models
    ends = [models * i // count for i in range(count + 1)]
    return [slice(start, end) for start, end in pairwise(ends)]


def _bucket(models: int) -> int:
    """Stack size rounded down to a power of two, so that few sizes are measured."""
    return min(_MODELS, power_of_two(models))


def _over(
    ceiling: Ceiling, alive: Tensor, sums: Tensor, squares: Tensor, done: int, n: int, chunks: int
) -> Tensor:
    """Which models alive are above the ceiling after `done` of `n`, for sure or as guessed."""
    level = ceiling.level[alive]
    over = torch.zeros_like(sums, dtype=torch.bool)
    if ceiling.proof:
        over |= sums / n > level
    if ceiling.guess and done >= min(_LOOK, n) and chunks > 1:
        mean = sums / done
        # Standard error of the mean, from the spread of the means of the chunks; two chunks may
        # agree by chance, hence the share of the mean itself.
        variance = (squares / done - mean**2).clamp_min(0) / (chunks - 1)
        over |= mean - 3 * variance.sqrt() - mean.abs() / chunks**2 > level
    return over
