"""What work gives: records that go from whoever computed them to the store, and rows of a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from thalweg.connect import Connection, Outcome

OPEN, RUNNING = "open", "running"
"""In the place of an outcome, where there is none yet."""

FAILED = "failed"
"""Outcome of a cell whose computation broke off as often as it was tried."""

UNTRAINED = "endpoint not trained"
"""Outcome of a cell one of whose networks did not reach its target within the limits."""

ABOVE = "endpoint above threshold"
"""Outcome of a cell one of whose checkpoints lies above the level."""


@dataclass(frozen=True, eq=False)
class Network:
    """How the training of a network ended.

    Attributes:
        theta: `[p]`, on the CPU; None: it failed.
        message: why, if it did.
        criterion: on the criterion's split.
        steps: optimizer steps.
        gradient_samples: examples gone through in training.
        criterion_samples: examples looked at to measure the criterion.
        seconds: an equal share of the batch's.
    """

    theta: Tensor | None
    message: str = ""
    criterion: float | None = None
    steps: int | None = None
    gradient_samples: int | None = None
    criterion_samples: int | None = None
    seconds: float | None = None


@dataclass(frozen=True, eq=False)
class Cell:
    """How a cell ended.

    Attributes:
        outcome: of :class:`thalweg.Outcome`, or one of this module.
        message: the same in one sentence.
        certificate: kind that the segments have.
        normalized_length: of the path; None where there is none, or its endpoints are equal.
        beads: intermediate models on the path, as far as it came.
        max_criterion_bound: certified upper bound over the whole path, where there is one.
        gradient_samples: models × examples gone through in training the beads.
        criterion_samples: models × examples looked at for values and bounds.
        seconds: of this cell's beads and segments, computed side by side with those of others.
        record: more for whoever wants to know.
        connection: the path, where it is kept.
    """

    outcome: str
    message: str
    certificate: str | None = None
    normalized_length: float | None = None
    beads: int | None = None
    max_criterion_bound: float | None = None
    gradient_samples: int | None = None
    criterion_samples: int | None = None
    seconds: float | None = None
    record: Mapping[str, Any] | None = None
    connection: Connection | None = None


@dataclass(frozen=True)
class Row:
    """A cell as a table shows it; None where there is no value."""

    task: str
    protocol: str
    threshold: float
    seed_a: int
    seed_b: int
    method: str
    outcome: str
    certificate: str | None
    normalized_length: float | None
    beads: int | None
    max_criterion_bound: float | None
    gradient_samples: int | None
    criterion_samples: int | None
    seconds: float | None

    @property
    def connected(self) -> bool:
        """Whether there is a path at or below the level."""
        return self.outcome in {str(outcome) for outcome in Outcome if outcome.connected}

    @property
    def ended(self) -> bool:
        """Whether there is a result, good or bad."""
        return self.outcome not in (OPEN, RUNNING)


COLUMNS = tuple(Row.__dataclass_fields__)
"""Of the table, in order."""
