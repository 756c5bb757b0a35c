"""The objective F: model + loss + data as a function of θ, evaluated on stacks of θ."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from thalweg.errors import InputError
from thalweg.objective.batchnorm import Calibration, Statistics, tracked_layers, training_copy
from thalweg.objective.criterion import Criterion, Loss, total
from thalweg.objective.planning import Plan, Planner
from thalweg.objective.pooling import with_fast_pooling
from thalweg.objective.splits import Inputs, Split
from thalweg.objective.strategies import STRATEGIES, Function
from thalweg.parameters import Layout, Source, resolve

Penalty = Callable[[Mapping[str, Tensor]], Tensor]
"""From named parameters to a scalar that is added to the training loss."""

# Share of a split after which a point that looks far above a target is given up (see evaluate).
_LOOK = 512


@dataclass(frozen=True)
class Training:
    """How models of this objective are trained, endpoints and beads alike.

    Attributes:
        optimizer: name of a class of ``torch.optim``.
        learning_rate: its ``lr``.
        options: its other keyword arguments.
        batch_size: examples a minibatch; None: the whole split at once.
        max_gradient_norm: gradients longer than this are scaled down to it; None: never.
        split: the split trained on.
    """

    optimizer: str = "Adam"
    learning_rate: float = 1e-3
    options: Mapping[str, Any] = field(default_factory=dict)
    batch_size: int | None = None
    max_gradient_norm: float | None = None
    split: str = "train"


@dataclass(frozen=True)
class Evaluation:
    """Values of a stack of models, and what they cost.

    Attributes:
        values: `[k, q]`, float64: one column a measure. Where not complete, a value above the
            ceiling that was asked about.
        complete: `[k]`, bool: whether every example was looked at.
        evaluations: models evaluated.
        samples: models × examples.
    """

    values: Tensor
    complete: Tensor
    evaluations: int
    samples: int


@dataclass(frozen=True)
class Gradients:
    """Gradients of a stack of models on one minibatch.

    Attributes:
        gradients: `[k, p]`.
        losses: `[k]`: training loss on that minibatch, penalty included.
        samples: models × examples.
    """

    gradients: Tensor
    losses: Tensor
    samples: int


class Objective:
    """A model, its loss and its data as a function of the flat vector θ.

    The caller's model is copied and never changed. Dropout is off when a criterion is evaluated;
    BatchNorm is evaluated with statistics estimated anew for every θ
    (:mod:`thalweg.objective.batchnorm`).

    Args:
        model: any module; its trainable parameters make up θ.
        loss: of (output, target): the mean over examples, or one value an example.
        train: ``(inputs, target)`` tensors, or a re-iterable of such batches.
        test: likewise, or None.
        criterion: what is held against the threshold.
        training: how models are trained.
        penalty: of the named parameters, added to the training loss alone.
        calibration: which training data re-estimate BatchNorm statistics.
        device: where to compute; default: where the model is.
        seed: of the order of the data.
        strategy: ``"loop"`` or ``"vmap"``; None: whichever measures faster.
        name: how records call this objective; default: the class of the model.

    Raises:
        InputError: if model, loss and data do not fit together, or evaluating twice gives two
            results.

    Example:
        >>> x, y = torch.linspace(0, 1, 8).reshape(8, 1), torch.zeros(8, 1)
        >>> objective = Objective(nn.Linear(1, 1), nn.functional.mse_loss, train=(x, y))
        >>> objective.criterion_of(torch.zeros(1, 2)).values
        tensor([[0.]], dtype=torch.float64)
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Loss,
        *,
        train: Any,
        test: Any = None,
        criterion: Criterion | None = None,
        training: Training | None = None,
        penalty: Penalty | None = None,
        calibration: Calibration | None = None,
        device: str | torch.device | None = None,
        seed: int = 0,
        strategy: str | None = None,
        name: str | None = None,
    ) -> None:
        self.layout = Layout.of(model)
        self.device = torch.device(device) if device else next(model.parameters()).device
        self.model = copy.deepcopy(model).to(self.device).eval()
        self.loss = loss
        self.criterion = criterion or Criterion()
        self.training = training or Training()
        self.penalty = penalty
        self.calibration = calibration or Calibration()
        self.name = name or type(model).__name__
        self.strategy = strategy
        given = {"train": train, "test": test}
        self.splits = {
            key: Split.of(key, data, seed).to(self.device, self.layout.dtype)
            for key, data in given.items()
            if data is not None
        }
        for use, split in (("criterion", self.criterion.split), ("training", self.training.split)):
            if split not in self.splits:
                raise InputError(
                    f"expected data for the split '{split}' that the {use} names, got "
                    f"{', '.join(self.splits)}: pass {split}=(inputs, target)"
                )
        self._check()

    # ------------------------------------------------------------------ models

    def theta(self, source: Source, label: str = "the model") -> Tensor:
        """θ of a module, state dict, flat vector or checkpoint file, checked by name.

        Args:
            source: of this objective's architecture.
            label: how to call it in an error.

        Returns:
            `[p]`, on the objective's device.

        Raises:
            InputError: if it does not fit, or holds NaN or inf.
        """
        return resolve(source, self.model, self.layout, label).to(self.device)

    def state_dict(self, theta: Tensor) -> dict[str, Tensor]:
        """Parameters and buffers of the model at θ, BatchNorm statistics re-estimated."""
        parameters = self.layout.unflatten(theta)
        fixed = {n: t for n, t in self.model.state_dict().items() if n not in parameters}
        return {**fixed, **parameters, **self._buffers(theta)}

    def with_examples(self, limits: Mapping[str, int]) -> Objective:
        """The same objective on the first so many examples of some splits, a fair sample."""
        twin = copy.copy(self)
        twin.splits = {
            name: split.take(limits.get(name, len(split))) for name, split in self.splits.items()
        }
        twin.__dict__.pop("_double", None)
        return twin

    def double(self) -> Objective:
        """The same objective in float64: weights and data converted exactly."""
        if self.layout.dtype == torch.float64:
            return self
        return self._double

    @cached_property
    def _double(self) -> Objective:
        twin = copy.copy(self)
        for cached in ("_double", "_planner", "_statistics", "_training_model", "_fast_model"):
            twin.__dict__.pop(cached, None)
        twin.layout = self.layout.double()
        twin.model = copy.deepcopy(self.model).double()
        twin.splits = {n: s.to(self.device, torch.float64) for n, s in self.splits.items()}
        return twin

    def fingerprints(self) -> dict[str, str]:
        """SHA-256 of the data of every split."""
        return {name: split.fingerprint() for name, split in self.splits.items()}

    # -------------------------------------------------------------- evaluation

    def criterion_of(
        self, stack: Tensor, *, ceiling: float | None = None, guess: bool = False
    ) -> Evaluation:
        """The criterion of a stack of models on its split.

        Args:
            stack: `[k, p]`.
            ceiling: a level above which the exact value is of no interest: where no example's
                value can be negative, a model leaves as soon as its partial sum proves it above.
            guess: also let a model leave when a first part of the data puts it above the ceiling
                by more than three standard errors. Fit for scheduling, not for a certificate.

        Returns:
            Values `[k, 1]`.
        """
        return self.evaluate(
            stack, self.criterion.split, (self.criterion,), ceiling=ceiling, guess=guess
        )

    def evaluate(
        self,
        stack: Tensor,
        split: str,
        measures: tuple[Criterion, ...],
        *,
        ceiling: float | None = None,
        guess: bool = False,
    ) -> Evaluation:
        """Several measures of a stack of models on one split, in one pass over the data.

        Args:
            stack: `[k, p]`.
            split: name of the split; the measures' own splits are not looked at.
            measures: what to take; the first is held against the ceiling.
            ceiling: see :meth:`criterion_of`.
            guess: see :meth:`criterion_of`.

        Returns:
            Values `[k, len(measures)]`, not finite where the network's outputs are not.
        """
        data = self.splits[split]
        function = self._values(measures)
        plan = self._evaluation_plan(stack, data, function, split, len(measures))
        level = None
        if ceiling is not None:
            level = measures[0].unfinish(ceiling)
        proof = level is not None and measures[0].is_nonnegative(self.loss)
        parts = [
            self._evaluate_group(stack[i : i + plan.models], data, function, plan, level,
                                 proof=proof, guess=guess)
            for i in range(0, len(stack), plan.models)
        ]  # fmt: skip
        means = torch.cat([part[0] for part in parts])
        values = torch.stack(
            [measure.finish(means[:, i]) for i, measure in enumerate(measures)], dim=1
        )
        return Evaluation(
            values=values.cpu(),
            complete=torch.cat([part[1] for part in parts]).cpu(),
            evaluations=len(stack),
            samples=sum(part[2] for part in parts),
        )

    def _evaluate_group(
        self,
        stack: Tensor,
        data: Split,
        function: Function,
        plan: Plan,
        level: float | None,
        *,
        proof: bool,
        guess: bool,
    ) -> tuple[Tensor, Tensor, int]:
        """Means `[k, q]`, completeness `[k]` and samples of models carried out together."""
        strategy = STRATEGIES[plan.strategy]
        buffers = [self._buffers(row) for row in stack] if self._statistics else []
        n, done, samples = len(data), 0, 0
        alive = torch.arange(len(stack), device=stack.device)
        sums = torch.zeros(0)
        squares = torch.zeros(len(stack), dtype=torch.float64, device=stack.device)
        complete = torch.ones(len(stack), dtype=torch.bool, device=stack.device)
        counted = torch.zeros(len(stack), dtype=torch.float64, device=stack.device)
        for inputs, target in data.chunks(plan.examples):
            own = [buffers[i] for i in alive.tolist()] if buffers else []
            rows = stack if len(alive) == len(stack) else stack[alive]
            part = strategy.values(function, self.layout, rows, own, inputs, target)
            if not done:
                sums = torch.zeros(len(stack), part.shape[1], dtype=torch.float64,
                                   device=stack.device)  # fmt: skip
            sums[alive] += part
            size = len(target)
            squares[alive] += part[:, 0] ** 2 / size
            done += size
            samples += size * len(alive)
            counted[alive] = done
            if level is None or done == n:
                continue
            over = torch.zeros(len(alive), dtype=torch.bool, device=stack.device)
            if proof:
                over |= sums[alive, 0] > level * n
            if guess and done >= min(_LOOK, n):
                over |= _looks_above(sums[alive, 0], squares[alive], done, plan.examples, level)
            if over.any():
                complete[alive[over]] = False
                alive = alive[~over]
                if not len(alive):
                    break
        # A model that left: its partial sum over all examples is proved above the level; a guess
        # is the mean so far.
        divisor = torch.where(complete | (not guess), torch.full_like(counted, n), counted)
        return sums / divisor[:, None], complete, samples

    # ---------------------------------------------------------------- training

    def minibatches(self, seed: int) -> Iterator[tuple[Inputs, Tensor]]:
        """Endless minibatches of the training split, seeded."""
        return self.splits[self.training.split].minibatches(self.training.batch_size, seed)

    def gradients(self, stack: Tensor, batch: tuple[Inputs, Tensor]) -> Gradients:
        """Gradients of the training loss, dropout on, of a stack of models on one minibatch.

        Args:
            stack: `[k, p]`.
            batch: inputs and targets.

        Returns:
            Gradients `[k, p]` and losses `[k]`. Randomness inside the model (dropout) is drawn
            from torch's global generator.
        """
        plan = self._gradient_plan(stack, batch)
        parts = [
            self._gradients_of(stack[i : i + plan.models], batch, plan)
            for i in range(0, len(stack), plan.models)
        ]
        gradients = torch.cat([part[0] for part in parts])
        losses = torch.cat([part[1] for part in parts])
        if self.penalty is not None:
            extra, value = self._penalty_gradients(stack, self.penalty)
            gradients, losses = gradients + extra, losses + value
        return Gradients(gradients, losses, len(stack) * len(batch[1]))

    def _gradients_of(
        self, stack: Tensor, batch: tuple[Inputs, Tensor], plan: Plan
    ) -> tuple[Tensor, Tensor]:
        strategy = STRATEGIES[plan.strategy]
        whole = Split("minibatch", _tuple(batch[0]), batch[1])
        gradients: Tensor | None = None
        losses = torch.zeros(len(stack), device=stack.device, dtype=torch.float64)
        for inputs, target in whole.chunks(plan.examples):
            gradient, value = strategy.gradients(
                self._training_loss, self.layout, stack, inputs, target
            )
            share = len(target) / len(whole)
            gradient = gradient if share == 1 else gradient * share
            gradients = gradient if gradients is None else gradients.add_(gradient)
            losses += value[:, 0] * share
        if gradients is None:
            raise InputError("expected a minibatch with at least one example, got none")
        return gradients, losses

    def _penalty_gradients(self, stack: Tensor, penalty: Penalty) -> tuple[Tensor, Tensor]:
        thetas = stack.detach().requires_grad_()
        values = torch.stack([penalty(self.layout.unflatten(row)) for row in thetas])
        (gradients,) = torch.autograd.grad(values.sum(), thetas)
        return gradients, values.detach()

    # --------------------------------------------------------------- functions

    def _values(self, measures: tuple[Criterion, ...]) -> Function:
        """Sums over the examples of a chunk, one a measure, of one model."""
        functions = [measure.per_example(self.loss) for measure in measures]
        model = self._fast_model

        def values(tensors: dict[str, Tensor], inputs: Inputs, target: Tensor) -> Tensor:
            output = functional_call(model, tensors, _tuple(inputs))
            return torch.stack([total(f(output, target), len(target)) for f in functions])

        return values

    def _training_loss(self, tensors: dict[str, Tensor], inputs: Inputs, target: Tensor) -> Tensor:
        output = functional_call(self._training_model, tensors, _tuple(inputs))
        loss = self.loss(output, target)
        return (loss if loss.ndim == 0 else loss.mean()).reshape(1)

    def _buffers(self, theta: Tensor) -> dict[str, Tensor]:
        return self._statistics.estimate(self.layout.unflatten(theta)) if self._statistics else {}

    @cached_property
    def _fast_model(self) -> nn.Module:
        return with_fast_pooling(self.model)

    @cached_property
    def _training_model(self) -> nn.Module:
        return training_copy(self.model)

    @cached_property
    def _statistics(self) -> Statistics | None:
        if not tracked_layers(self.model):
            return None
        return Statistics(self.model, self.splits[self.training.split], self.calibration)

    # ---------------------------------------------------------------- planning

    @cached_property
    def _planner(self) -> Planner:
        shapes = [list(t.shape[1:]) for t in (*self.splits["train"].inputs,)]
        text = f"{self.model} {self.layout} {shapes} {self.loss}".split(" at 0x")[0]
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        threads = torch.get_num_threads()
        identity = f"{self.name}-{digest} torch {torch.__version__} {self.device} x{threads}"
        return Planner(identity, self.strategy)

    @property
    def plans(self) -> dict[str, dict[str, str | int]]:
        """Strategies and chunk sizes in use so far, by kind of work."""
        return self._planner.chosen

    def _evaluation_plan(
        self, stack: Tensor, data: Split, function: Function, split: str, measures: int
    ) -> Plan:
        models = _bucket(len(stack))
        rows = stack[:models]

        def run(plan: Plan) -> int:
            group = rows[: plan.models]
            part = data.take(plan.examples)
            buffers = [self._buffers(row) for row in group] if self._statistics else []
            STRATEGIES[plan.strategy].values(
                function, self.layout, group, buffers, *part.select(slice(None))
            )
            return len(group) * len(part)

        key = f"evaluate {split} x{measures} models {models}"
        return self._planner.choose(key, _candidates(models, len(data), _CHUNKS), run)

    def _gradient_plan(self, stack: Tensor, batch: tuple[Inputs, Tensor]) -> Plan:
        models = _bucket(len(stack))
        rows = stack[:models]
        size = len(batch[1])
        # Statistics of a batch cannot be put together from parts of it.
        chunks = (size,) if _uses_batch_statistics(self.model) else (*_CHUNKS, size)

        def run(plan: Plan) -> int:
            with torch.random.fork_rng(devices=_cuda_devices(self.device)):
                self._gradients_of(rows[: plan.models], batch, plan)
            return min(plan.models, len(rows)) * size

        key = f"gradients batch {size} models {models}"
        return self._planner.choose(key, _candidates(models, size, chunks), run)

    # ------------------------------------------------------------------ checks

    def _check(self) -> None:
        """Evaluate a few examples twice, whole and in halves: a loss must be a repeatable mean."""
        theta = self.layout.flatten(dict(self.model.named_parameters()))
        buffers = self._buffers(theta)
        measures = (Criterion("loss"), self.criterion)
        function = self._values(measures)
        for split in self.splits.values():
            few = split.take(64)

            def mean(data: Split) -> Tensor:
                tensors = {**self.layout.unflatten(theta), **buffers}
                with torch.no_grad():
                    return function(tensors, *data.select(slice(None)))

            try:
                whole, again = mean(few), mean(few)
                half = few.take(max(1, len(few) // 2))
                rest = Split(split.name, tuple(t[len(half) :] for t in few.inputs),
                             few.target[len(half) :])  # fmt: skip
                parts = mean(half) + mean(rest) if len(rest) else whole
            except (RuntimeError, ValueError, IndexError, TypeError, AttributeError) as error:
                raise InputError(
                    f"expected model, loss and criterion to fit the '{split.name}' data, got "
                    f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
                ) from error
            if not torch.equal(whole, again) and not torch.allclose(
                whole, again, rtol=1e-6, atol=1e-9, equal_nan=True
            ):
                raise InputError(
                    f"expected the same value when evaluated twice on '{split.name}', got "
                    f"{whole.tolist()} and {again.tolist()}: remove the randomness from the "
                    "model's evaluation or from the loss"
                )
            if not torch.allclose(whole, parts, rtol=1e-3, atol=1e-6, equal_nan=True):
                raise InputError(
                    f"expected loss and criterion to be means over examples, got sums "
                    f"{whole.tolist()} over {len(few)} examples of '{split.name}' but "
                    f"{parts.tolist()} over its two halves: use reduction='mean' or 'none', "
                    "without weights that depend on the batch"
                )


_CHUNKS = (256, 64, 1024, 4096)
_MODELS = 64


def _candidates(models: int, examples: int, chunks: tuple[int, ...]) -> Iterator[Plan]:
    """Plans to try: the plain loop first, which works for every model."""
    sizes = list(dict.fromkeys(min(size, examples) for size in chunks))
    for size in sizes:
        yield Plan("loop", 1, size)
    if models > 1:
        for together in dict.fromkeys((models, min(models, 8))):
            for size in sizes:
                # Larger products fall out of every cache and cost memory.
                if together * size <= 1 << 18:
                    yield Plan("vmap", together, size)


def _bucket(models: int) -> int:
    """Stack size rounded down to a power of two, so that few sizes are measured."""
    return min(_MODELS, 1 << (models.bit_length() - 1))


def _looks_above(sums: Tensor, squares: Tensor, done: int, chunk: int, level: float) -> Tensor:
    """Whether the mean so far exceeds the level by over three standard errors, by chunk means."""
    mean = sums / done
    chunks = max(2.0, done / chunk)
    spread = (squares / done - mean**2).clamp_min(0) / (chunks - 1)
    # With one chunk there is no spread to go by: ask for twice the level instead.
    margin = 3 * spread.sqrt() if done > chunk else mean.abs() / 2
    return mean - margin > level


def _tuple(inputs: Inputs) -> tuple[Tensor, ...]:
    return inputs if isinstance(inputs, tuple) else (inputs,)


def _uses_batch_statistics(model: nn.Module) -> bool:
    return any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in model.modules())


def _cuda_devices(device: torch.device) -> list[torch.device]:
    return [device] if device.type == "cuda" else []
