"""The objective F: model + loss + data as a function of θ, evaluated on stacks of θ."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from thalweg.errors import InputError
from thalweg.objective.batchnorm import Calibration, Statistics, tracked_layers, training_copy
from thalweg.objective.checks import check_work
from thalweg.objective.criterion import Criterion, Loss, by_rows, total
from thalweg.objective.engine import Ceiling, Engine
from thalweg.objective.normalization import with_fast_normalization
from thalweg.objective.planning import Planner
from thalweg.objective.pooling import with_fast_pooling
from thalweg.objective.precision import exact_cudnn
from thalweg.objective.recipe import Training
from thalweg.objective.splits import Inputs, Split
from thalweg.objective.strategies import STRATEGIES, Work
from thalweg.parameters import Layout, Source, aliases, resolve

# Made from the fields on first use; a copy with other fields makes its own.
_CACHED = ("_double", "_engine", "_statistics", "_training_work", "_fast_model")

Penalty = Callable[[Mapping[str, Tensor]], Tensor]
"""From named parameters to a scalar that is added to the training loss."""


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
        strategy: ``"loop"``, ``"threads"``, ``"vmap"`` or ``"dense"``; None: whichever measures
            fastest.
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
        if strategy is not None and strategy not in STRATEGIES:
            raise InputError(f"expected a strategy among {', '.join(STRATEGIES)}, got '{strategy}'")
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
        """Parameters and buffers of the model at θ, BatchNorm statistics re-estimated.

        A tied tensor stands under every one of its names.
        """
        parameters = self.layout.unflatten(theta)
        names = aliases(self.model)
        tied = {alias: t for name, t in parameters.items() for alias in names[name]}
        return {**self.model.state_dict(), **tied, **self._buffers(theta)}

    def with_examples(self, limits: Mapping[str, int]) -> Objective:
        """The same objective on the first so many examples of some splits, a fair sample."""
        twin = copy.copy(self)
        twin.splits = {
            name: split.take(limits.get(name, len(split))) for name, split in self.splits.items()
        }
        # Statistics and plans stay: they do not depend on what is left out.
        twin.__dict__.pop("_double", None)
        return twin

    def with_training(self, training: Training) -> Objective:
        """The same objective with another recipe for its models.

        Raises:
            InputError: if there are no data for the split that the recipe names.
        """
        if training.split not in self.splits:
            raise InputError(
                f"expected a recipe for one of the splits {', '.join(self.splits)}, got "
                f"'{training.split}'"
            )
        twin = copy.copy(self)
        twin.training = training
        twin.__dict__.pop("_double", None)
        twin.__dict__.pop("_statistics", None)  # which are taken on the split trained on
        twin.__dict__.pop("_engine", None)
        return twin

    def to(self, device: str | torch.device) -> Objective:
        """The same objective, computed on another device."""
        twin = copy.copy(self)
        for cached in _CACHED:
            twin.__dict__.pop(cached, None)
        twin.device = torch.device(device)
        twin.model = copy.deepcopy(self.model).to(twin.device)
        if isinstance(self.loss, nn.Module):  # which may hold weights of classes
            twin.loss = copy.deepcopy(self.loss).to(twin.device)
        twin.splits = {n: s.to(twin.device, self.layout.dtype) for n, s in self.splits.items()}
        return twin

    def double(self) -> Objective:
        """The same objective in float64: weights and data converted exactly."""
        if self.layout.dtype == torch.float64:
            return self
        return self._double

    @cached_property
    def _double(self) -> Objective:
        twin = copy.copy(self)
        for cached in _CACHED:
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
        self, stack: Tensor, *, ceiling: float | Tensor | None = None, guess: bool = False
    ) -> Evaluation:
        """The criterion of a stack of models on its split.

        Args:
            stack: `[k, p]`.
            ceiling: a level above which the exact value is of no interest, or one for each model,
                `[k]`: where no example's value can be negative, a model leaves as soon as its
                partial sum proves it above.
            guess: also let a model leave when a first part of the data puts it above the ceiling
                by more than three standard errors. Fit for scheduling, not for a certificate.

        Returns:
            Values `[k, 1]`.
        """
        return self.evaluate(
            stack, self.criterion.split, (self.criterion,), ceiling=ceiling, guess=guess
        )

    @exact_cudnn
    def evaluate(
        self,
        stack: Tensor,
        split: str,
        measures: tuple[Criterion, ...],
        *,
        ceiling: float | Tensor | None = None,
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
        first = measures[0]
        limit = None
        if ceiling is not None:
            proof = first.is_nonnegative(self.loss)
            levels = torch.as_tensor(ceiling, dtype=torch.float64).expand(len(stack)).tolist()
            limit = Ceiling(
                torch.tensor([first.unfinish(level) for level in levels], dtype=torch.float64,
                             device=self.device),
                proof, guess,
            )  # fmt: skip
        key = f"{split} {'+'.join(measure.name for measure in measures)}"
        means = self._engine.means(
            self._evaluation(measures), stack.to(self.device), self.splits[split], key, limit
        )
        values = [measure.finish(means.values[:, i]) for i, measure in enumerate(measures)]
        calibrated = self._statistics.examples if self._statistics else 0
        return Evaluation(
            values=torch.stack(values, dim=1).cpu(),
            complete=means.complete.cpu(),
            evaluations=len(stack),
            samples=means.samples + calibrated * len(stack),
        )

    # ---------------------------------------------------------------- training

    @property
    def samples(self) -> tuple[int, ...]:
        """Examples of one step: of a minibatch; or of samples that grow."""
        return self.training.samples_of(len(self.splits[self.training.split]))

    def minibatches(self, seed: int) -> Iterator[tuple[Inputs, Tensor]]:
        """Endless minibatches of the training split, seeded."""
        return self.splits[self.training.split].minibatches(self.training.batch_size, seed)

    @exact_cudnn
    def gradients(self, stack: Tensor, batch: tuple[Inputs, Tensor]) -> Gradients:
        """Gradients of the training loss, dropout on, of a stack of models on one minibatch.

        Args:
            stack: `[k, p]`.
            batch: inputs and targets.

        Returns:
            Gradients `[k, p]` and losses `[k]`. Randomness inside the model (dropout) is drawn
            from torch's global generator.
        """
        gradients, losses = self._engine.gradients(self._training_work, stack, batch)
        if self.penalty is not None:
            extra, value = self._penalty_gradients(stack, self.penalty)
            gradients, losses = gradients + extra, losses + value
        return Gradients(gradients, losses, len(stack) * len(batch[1]))

    def _penalty_gradients(self, stack: Tensor, penalty: Penalty) -> tuple[Tensor, Tensor]:
        thetas = stack.detach().requires_grad_()
        values = torch.stack([penalty(self.layout.unflatten(row)) for row in thetas])
        (gradients,) = torch.autograd.grad(values.sum(), thetas)
        return gradients, values.detach()

    # ------------------------------------------------------------- what is run

    def _evaluation(self, measures: tuple[Criterion, ...]) -> Work:
        """Sums over the examples of a chunk, one a measure."""
        functions = [by_rows(measure.per_example(self.loss)) for measure in measures]

        def head(output: Any, target: Tensor) -> Tensor:
            return torch.stack([total(f(output, target), len(target)) for f in functions])

        return Work(self._fast_model, self.layout, head)

    @cached_property
    def _training_work(self) -> Work:
        criterion = by_rows(self.loss)

        def head(output: Any, target: Tensor) -> Tensor:
            loss = criterion(output, target)
            return (loss if loss.ndim == 0 else loss.mean()).reshape(1)

        model = training_copy(with_fast_normalization(self.model))
        return Work(model, self.layout, head, self.loss)

    @cached_property
    def _fast_model(self) -> nn.Module:
        return with_fast_pooling(with_fast_normalization(self.model))

    @cached_property
    def _statistics(self) -> Statistics | None:
        if not tracked_layers(self.model):
            return None
        return Statistics(self.model, self.splits[self.training.split], self.calibration)

    def _buffers(self, theta: Tensor) -> dict[str, Tensor]:
        return self._statistics.estimate(self.layout.unflatten(theta)) if self._statistics else {}

    @cached_property
    def _engine(self) -> Engine:
        return Engine(
            Planner(self._identity(), self.strategy),
            self._buffers if self._statistics else None,
            whole_batches=self._statistics is not None,
        )

    def _identity(self) -> str:
        """What the choice of a plan depends on, beside the stack: network, data, machine."""
        shapes = [list(t.shape[1:]) for t in self.splits[self.training.split].inputs]
        digest = hashlib.sha256(f"{self.model} {self.layout} {shapes}".encode()).hexdigest()
        machine = f"torch {torch.__version__} {self.device} x{torch.get_num_threads()}"
        return f"{self.name}-{digest[:16]} {machine}"

    @property
    def plans(self) -> dict[str, dict[str, str | int]]:
        """Strategies and chunk sizes in use so far, by kind of work."""
        return self._engine.planner.chosen

    def _check(self) -> None:
        """Check at the model's weights, and beside them, where no value is zero by construction."""
        theta = self.layout.flatten(dict(self.model.named_parameters()))
        noise = torch.randn(len(theta), generator=torch.Generator().manual_seed(0))
        beside = theta + 0.5 * noise.to(theta)
        work = self._evaluation((Criterion("loss"), self.criterion))
        for point in (theta, beside):
            tensors = {**self.layout.unflatten(point), **self._buffers(point)}
            check_work(work, tensors, self.splits.values())
