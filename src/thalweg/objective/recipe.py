"""How models are trained: optimizer, minibatches or samples, and their limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from thalweg.errors import InputError

# A model that no longer improves takes samples this many times as large.
_GROWTH = 4


@dataclass(frozen=True)
class Training:
    """How models of this objective are trained, endpoints and beads alike.

    Attributes:
        optimizer: name of a class of ``torch.optim``.
        learning_rate: its ``lr``.
        options: its other keyword arguments.
        batch_size: examples a minibatch; None: the whole split at once.
        sample: where there are no minibatches, a step goes through so many examples only, the
            next ones of the split at every step, in its seeded order and around. A model that no
            longer improves takes four times as many, in the end all. None: all from the start.
        bead_factor: beads take steps this many times as long as `learning_rate` says: they start
            between trained models, where longer steps do no harm.
        max_gradient_norm: gradients longer than this are scaled down to it; None: never.
        split: the split trained on.

    Raises:
        InputError: if a number is out of range.
    """

    optimizer: str = "Adam"
    learning_rate: float = 1e-3
    options: Mapping[str, Any] = field(default_factory=dict)
    batch_size: int | None = None
    sample: int | None = None
    bead_factor: float = 1.0
    max_gradient_norm: float | None = None
    split: str = "train"

    def __post_init__(self) -> None:
        if self.batch_size is not None and self.batch_size < 1:
            raise InputError(f"expected a batch size of at least 1, got {self.batch_size}")
        if self.sample is not None and (self.sample < 1 or self.batch_size is not None):
            raise InputError(
                f"expected a sample of at least 1 example and no minibatches beside it, got "
                f"{self.sample} and batch size {self.batch_size}"
            )
        if not self.bead_factor > 0:
            raise InputError(f"expected a bead factor > 0, got {self.bead_factor}")
        if self.max_gradient_norm is not None and not self.max_gradient_norm > 0:
            raise InputError(f"expected a gradient norm > 0, got {self.max_gradient_norm}")

    def samples_of(self, whole: int) -> tuple[int, ...]:
        """Examples of one step, on a split of so many: of a minibatch; or of samples that grow.

        Args:
            whole: examples of the split.

        Example:
            >>> Training(sample=512).samples_of(10_000)
            (512, 2048, 10000)
        """
        size = min(self.batch_size or self.sample or whole, whole)
        if self.batch_size is not None:
            return (size,)
        sizes = []
        # A sample of more than half the split saves too little to tell the two apart.
        while 2 * size <= whole:
            sizes.append(size)
            size *= _GROWTH
        return (*sizes, whole)
