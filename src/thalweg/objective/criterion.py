"""The scalar that is held against the threshold, on a named split."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from thalweg.errors import InputError

Loss = Callable[[Any, Tensor], Tensor]
"""From the model's output and the target to the mean over examples, or one value an example."""

MEASURES = ("loss", "error_rate", "perplexity")

# Losses that are never below zero, so that a partial sum is a lower bound of the whole.
_NONNEGATIVE_FUNCTIONS = {
    "cross_entropy", "mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "soft_margin_loss",
    "multi_margin_loss", "hinge_embedding_loss",
}  # fmt: skip
_NONNEGATIVE_MODULES = {
    "CrossEntropyLoss", "MSELoss", "L1Loss", "SmoothL1Loss", "HuberLoss", "SoftMarginLoss",
    "MultiMarginLoss",
}  # fmt: skip


@dataclass(frozen=True)
class Criterion:
    """What is held against the threshold L0.

    Attributes:
        measure: ``"loss"`` (the objective's own loss, mean over examples, in its units),
            ``"error_rate"`` (fraction of examples whose largest output is not the target's),
            ``"perplexity"`` (exp of the mean loss in nats), or a callable of (output, target)
            that returns the mean over examples or one value an example.
        split: name of the split it is taken on, ``"train"`` or ``"test"``.
        nonnegative: whether no example's value is ever below zero, which lets a partial sum
            refuse a point; None: known for the named measures and for torch's usual losses.

    Example:
        >>> Criterion("error_rate", split="test").name
        'error_rate'
    """

    measure: str | Loss = "loss"
    split: str = "train"
    nonnegative: bool | None = None

    def __post_init__(self) -> None:
        if isinstance(self.measure, str) and self.measure not in MEASURES:
            raise InputError(
                f"expected a criterion among {', '.join(MEASURES)} or a callable, "
                f"got '{self.measure}'"
            )

    @property
    def name(self) -> str:
        """Name of the measure."""
        if isinstance(self.measure, str):
            return self.measure
        name = getattr(self.measure, "__name__", type(self.measure).__name__)
        return f"own {name}" if name in MEASURES else name

    def per_example(self, loss: Loss) -> Loss:
        """The function whose mean over examples gives the criterion, up to :meth:`finish`."""
        if not isinstance(self.measure, str):
            return self.measure
        return errors if self.measure == "error_rate" else loss

    def finish(self, mean: Tensor) -> Tensor:
        """From the mean over examples to the criterion."""
        return mean.exp() if self.measure == "perplexity" else mean

    def unfinish(self, value: float) -> float:
        """From a value of the criterion to the mean over examples; inverse of :meth:`finish`."""
        if self.measure != "perplexity":
            return value
        return math.log(value) if value > 0 else -math.inf

    def is_nonnegative(self, loss: Loss) -> bool:
        """Whether no example's value can be below zero, as far as is known."""
        if self.nonnegative is not None:
            return self.nonnegative
        if self.measure == "error_rate":
            return True
        return isinstance(self.measure, str) and _known_nonnegative(loss)


def errors(output: Tensor, target: Tensor) -> Tensor:
    """One where the prediction differs from the target, else zero, one value an example.

    Args:
        output: class scores `[n, classes, ...]` with integer targets `[n, ...]`; or one logit an
            example, `[n]` or `[n, 1]`, with targets of 0 and 1.
        target: as above.

    Returns:
        `[n]`, a fraction where an example has several targets (a sequence).

    Example:
        >>> errors(torch.tensor([[1.0, 2.0], [3.0, 0.0]]), torch.tensor([1, 1]))
        tensor([0., 1.])
    """
    if output.ndim == 1 or (output.shape[1] == 1 and output.shape == target.shape):
        wrong = (output > 0) != (target > 0.5)
    else:
        wrong = output.argmax(dim=1) != target
    wrong = wrong.to(output.dtype)
    return wrong if wrong.ndim == 1 else wrong.flatten(1).mean(1)


def across_models(criterion: Criterion, loss: Loss, target: Tensor) -> Loss | None:
    """A measure of many models at once, for outputs with the classes before the examples.

    Args:
        criterion: what to measure.
        loss: the objective's.
        target: class numbers `[n]` of all examples.

    Returns:
        A function of outputs `[k, classes, n]` and a target `[n]` with one value an example,
        `[k, n]`, before :meth:`Criterion.finish`; None where the measure is not known to allow it.

    Example:
        >>> measure = across_models(Criterion("error_rate"), F.mse_loss, torch.tensor([1, 0]))
        >>> measure(torch.eye(2).expand(3, 2, 2), torch.tensor([1, 0])).shape
        torch.Size([3, 2])
    """
    numbers = target.ndim == 1 and not target.is_floating_point() and bool((target >= 0).all())
    if not numbers:
        return None
    if criterion.measure == "error_rate":
        return _errors_across
    return _cross_entropy_across if _is_cross_entropy(criterion.per_example(loss)) else None


def _errors_across(outputs: Tensor, target: Tensor) -> Tensor:
    if outputs.shape[1] == 1:
        return (outputs[:, 0] > 0) != (target > 0)  # one logit an example
    return outputs.argmax(1) != target


def _cross_entropy_across(outputs: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(outputs, target.expand(len(outputs), -1), reduction="none")


def by_rows(loss: Loss) -> Loss:
    """The same loss, with the positions of a sequence as rows where that is how they lie in memory.

    A language model makes its scores `[n, positions, classes]` and hands them on transposed, as
    the loss wants them: over classes that are not neighbours it takes several times as long.

    Args:
        loss: of output and target.

    Returns:
        Cross-entropy with such outputs flattened first, the same mean over the same numbers; any
        other loss as it is.

    Example:
        >>> scores = torch.arange(24.0).reshape(2, 3, 4)
        >>> words = torch.zeros(2, 3, dtype=torch.int64)
        >>> by_rows(F.cross_entropy)(scores.transpose(1, 2), words)
        tensor(3.4402)
    """
    if not _is_cross_entropy(loss) or getattr(loss, "reduction", "mean") != "mean":
        return loss

    def flattened(output: Tensor, target: Tensor) -> Tensor:
        classes_last = output.ndim > 2 and output.stride(1) == 1 and output.shape[1] > 1
        if classes_last and target.ndim == output.ndim - 1:
            return loss(output.movedim(1, -1).flatten(0, -2), target.flatten())
        return loss(output, target)

    return flattened


def _is_cross_entropy(loss: Loss) -> bool:
    if loss is F.cross_entropy:
        return True
    return (
        isinstance(loss, torch.nn.CrossEntropyLoss)
        and type(loss) is torch.nn.CrossEntropyLoss
        and loss.weight is None
        and loss.label_smoothing == 0
        and loss.ignore_index < 0
        and loss.reduction in ("mean", "none")
    )


def total(value: Tensor, examples: int) -> Tensor:
    """Sum over examples, in float64, of what a loss returned for a chunk.

    Args:
        value: the mean over examples (a scalar), or one value an example `[n, ...]`.
        examples: number `n` of examples of the chunk.

    Raises:
        InputError: for any other shape.
    """
    if value.ndim == 0:
        return value.to(torch.float64) * examples
    if value.shape[0] == examples:
        return value.reshape(examples, -1).to(torch.float64).mean(1).sum()
    raise InputError(
        f"expected a loss that returns a scalar mean or one value an example [{examples}], "
        f"got shape {list(value.shape)}"
    )


def _known_nonnegative(loss: Loss) -> bool:
    module = getattr(loss, "__module__", "") or type(loss).__module__
    if not module.startswith("torch.nn"):
        return False
    names = (getattr(loss, "__name__", ""), type(loss).__name__)
    return names[0] in _NONNEGATIVE_FUNCTIONS or names[1] in _NONNEGATIVE_MODULES
