"""Doing the work of one batch: from settings and weights to results, knowing no store."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from thalweg.connect import (
    Budget,
    Connection,
    Method,
    Progress,
    TrainingError,
    connect_pairs,
    make_method,
    train_all,
    versions,
)
from thalweg.objective import Objective
from thalweg.study.plan import Connecting, Training
from thalweg.study.problem import Built, build
from thalweg.study.results import ABOVE, UNTRAINED, Cell, Network

Watch = Callable[[str], None]
"""Told now and then, in a few words, how far a batch has come."""


@dataclass(frozen=True)
class Place:
    """Where a batch is computed.

    Attributes:
        data_dir: folder of the data sets.
        device: None: the CPU.
    """

    data_dir: Path | None = None
    device: str | None = None


def train_networks(
    setting: Training,
    seeds: Mapping[str, int],
    place: Place = Place(),
    watch: Watch | None = None,
) -> dict[str, Network]:
    """Train the networks of a batch, all at once.

    Args:
        setting: how.
        seeds: of each network's initial weights, by key, in the order of the batch.
        place: where.
        watch: told of progress.

    Raises:
        InputError: if the problem cannot be made.
    """
    built = build(setting.problem, place.data_dir, place.device)
    objective = _objective(built, plain=setting.plain)
    budget = Budget(
        steps=setting.steps, patience=setting.patience, seconds=setting.seconds
    )  # fmt: skip

    def steps(done: int) -> None:
        if watch is not None:
            watch(f"training {len(seeds)} networks to {setting.target:.4g}: {done:,} steps")

    begin = time.monotonic()
    trained = train_all(
        objective, [built.draw(seed) for seed in seeds.values()], setting.target,
        seed=setting.seed, budget=budget, progress=steps,
    )  # fmt: skip
    seconds = (time.monotonic() - begin) / len(seeds)
    found = {}
    for key, end in zip(seeds, trained, strict=True):
        if isinstance(end, TrainingError):
            found[key] = Network(None, str(end), seconds=seconds)
        else:
            found[key] = Network(
                end.theta.cpu(), "", end.criterion, end.steps, end.gradient_samples,
                end.criterion_samples, seconds,
            )  # fmt: skip
    return found


def connect_cells(
    setting: Connecting,
    pairs: Mapping[int, tuple[str, str]],
    weights: Mapping[str, Tensor | None],
    place: Place = Place(),
    watch: Watch | None = None,
) -> dict[int, Cell]:
    """Connect the pairs of a batch, all at once.

    Args:
        setting: how.
        pairs: keys of the endpoints of each cell, by its number, in the order of the batch.
        weights: `[p]` of each network, by key; None where it could not be trained.
        place: where.
        watch: told of progress.

    Raises:
        InputError: if the problem or the method cannot be made.
    """
    built = build(setting.problem, place.data_dir, place.device)
    objective = _objective(built, plain=setting.plain)
    found, able = {}, {}
    for number, (a, b) in pairs.items():
        ends = weights[a], weights[b]
        cell = _hindrance(objective, setting.level, ends)
        if cell is None:
            able[number] = ends
        else:
            found[number] = cell

    def search(progress: Progress) -> None:
        if watch is not None:
            watch(
                f"connecting {progress.pairs} pairs below {setting.level:.4g}: "
                f"{progress.pairs - progress.pairs_open} done, {progress.beads_done:,} beads"
            )

    if able:
        connections = connect_pairs(
            objective, list(able.values()), threshold=setting.level, method=_method(setting),
            certificate=setting.certificate, seed=setting.seed,
            budget=Budget(**setting.limits.model_dump()), progress=search,
        )  # fmt: skip
        more = {**built.origin, "data": objective.fingerprints()} if setting.paths else {}
        for number, connection in zip(able, connections, strict=True):
            found[number] = _cell(connection, more, keep=setting.paths)
    return found


def _objective(built: Built, *, plain: bool) -> Objective:
    """The objective, with the recipe of the published runs where that is asked for."""
    if not plain:
        return built.objective
    training = replace(built.objective.training, sample=None, bead_factor=1.0)
    return built.objective.with_training(training)


def _method(setting: Connecting) -> Method:
    return make_method(setting.method.name, **setting.method.options)


def _hindrance(objective: Objective, level: float, ends: Sequence[Tensor | None]) -> Cell | None:
    """Why a pair cannot be connected whatever is tried, or None."""
    twin = objective.double()
    for which, theta in zip("AB", ends, strict=True):
        if theta is None:
            return Cell(UNTRAINED, f"endpoint {which} did not reach its target")
        value = twin.criterion_of(theta.double()[None]).values.item()
        if not value <= level:
            return Cell(ABOVE, f"endpoint {which} has {value:.6g}, the level is {level:g}")
    return None


def _cell(connection: Connection, more: Mapping[str, Any], *, keep: bool) -> Cell:
    counts = connection.counts
    return Cell(
        outcome=str(connection.outcome),
        message=connection.message,
        certificate=connection.certificate,
        normalized_length=connection.normalized_length,
        beads=connection.beads,
        max_criterion_bound=connection.max_criterion_bound,
        gradient_samples=counts.gradient_samples,
        criterion_samples=counts.criterion_samples + counts.bound_samples,
        seconds=connection.seconds["training"] + connection.seconds["certifying"],
        record={
            "length": connection.length,
            "endpoint_distance": connection.endpoint_distance,
            "max_criterion_seen": connection.max_criterion_seen,
            "counts": vars(counts),
            "versions": versions(),
            "threads": torch.get_num_threads(),
            "device": connection.settings["device"],
            "plans": connection.settings["plans"],
        },
        connection=connection.with_settings(**more) if keep else None,
    )
