"""What a search may spend, and what it tells of how far it has come."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from thalweg.errors import InputError


@dataclass(frozen=True)
class Budget:
    """What a search may spend before it ends as "budget exhausted".

    Attributes:
        beads: intermediate models on one string.
        depth: how often a segment may be split, and its halves, and theirs.
        steps: optimizer steps of one bead.
        patience: steps of one bead without improvement by one percent, after which it has stalled.
        seconds: for the whole search; None: no limit.
        memory_limit: bytes that the search may hold beyond model and data, by bounding the models
            in training, those evaluated together and the trained ones in memory; None: 2 GB, or
            more where one model in training needs it.

    Raises:
        InputError: if a limit is negative or not finite.
    """

    beads: int = 1000
    depth: int = 14
    steps: int = 100_000
    patience: int = 5_000
    seconds: float | None = None
    memory_limit: int | None = None

    def __post_init__(self) -> None:
        for name, limit in vars(self).items():
            least = 1 if name in ("steps", "patience", "memory_limit") else 0
            if limit is not None and not (math.isfinite(limit) and limit >= least):
                raise InputError(f"expected a finite limit of {name} >= {least}, got {limit}")


@dataclass(frozen=True)
class Progress:
    """How far a search has come, as told to a progress callback.

    Attributes:
        pairs_open: strings still being worked on.
        pairs: all strings.
        beads_done: beads that have reached their target.
        beads_open: beads in training or waiting.
        segments_open: segments neither accepted nor split.
        depth: largest depth of any bead so far.
        steps: steps that the pool of beads has taken.
        seconds: since the search began.
    """

    pairs_open: int
    pairs: int
    beads_done: int
    beads_open: int
    segments_open: int
    depth: int
    steps: int
    seconds: float


Callback = Callable[[Progress], None]
