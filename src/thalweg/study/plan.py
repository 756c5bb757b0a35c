"""From a study to batches of work: what is computed together, and under which settings.

Beads of many pairs train as one pool, several times cheaper than pair by pair. But which models are
in a pool decides when a bead enters it, which samples it then trains on, and how sums are rounded:
**what is computed together is part of what a result depends on.** So the grid is cut into *batches*
by its own order, never by what happens to be left or who happens to be free:

- cells of one problem, protocol, threshold and method, in the order of their pairs, `pool` at a
  time; and the networks that they connect, `2·pool` at a time;
- a batch is computed whole, by one process, and its results are stored in one transaction; one that
  was interrupted is computed whole again;
- a study that is extended leaves the batches that exist as they are.

Whatever is killed and resumed, a batch is thus the same computation, and gives the same numbers on
the same machine with the same number of threads (and the same remembered choice of strategies,
:mod:`thalweg.objective.planning`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TypeVar

from thalweg.study.problem import Facts, facts
from thalweg.study.protocol import Rules, rules
from thalweg.study.spec import Limits, Problem, Search, Strict, Study

_POOL = 10

T = TypeVar("T")


class Training(Strict):
    """How the networks of a batch are trained.

    Attributes:
        problem: whose.
        plain: see :class:`thalweg.study.protocol.Rules`.
        target: of the criterion.
        steps: of one model.
        patience: of one model.
        seconds: of the batch.
        seed: of minibatches and dropout.
    """

    problem: Problem
    plain: bool
    target: float
    steps: int
    patience: int
    seconds: float | None
    seed: int


class Connecting(Strict):
    """How the pairs of a batch are connected.

    Attributes:
        problem: whose.
        plain: see :class:`thalweg.study.protocol.Rules`.
        level: the path must be at or below it.
        method: its name and all its options.
        certificate: its kind.
        limits: of each search.
        seed: of minibatches and dropout.
        paths: whether the paths are kept.
    """

    problem: Problem
    plain: bool
    level: float
    method: Search
    certificate: str
    limits: Limits
    seed: int
    paths: bool


@dataclass(frozen=True)
class PlannedNetwork:
    """A network to be trained.

    Attributes:
        key: hash of everything that it depends on, but for what it is trained together with.
        seed: of its initial weights.
    """

    key: str
    seed: int


@dataclass(frozen=True)
class PlannedCell:
    """One cell of the grid.

    Attributes:
        task: name of the problem.
        protocol: strict or paper.
        threshold: L0.
        seed_a: of one endpoint, or the number of its checkpoint.
        seed_b: of the other.
        method: its label.
        definition: hash of all settings that are no column of the table.
        network_a: key of one endpoint.
        network_b: key of the other.
    """

    task: str
    protocol: str
    threshold: float
    seed_a: int
    seed_b: int
    method: str
    definition: str
    network_a: str
    network_b: str


@dataclass(frozen=True)
class Batch:
    """Work that is done together.

    Attributes:
        setting: how.
        networks: to be trained; or none.
        cells: to be computed; or none.
    """

    setting: Training | Connecting
    networks: tuple[PlannedNetwork, ...] = ()
    cells: tuple[PlannedCell, ...] = ()


def plan(
    study: Study, data_dir: Path | None = None, checkpoints: dict[str, str] | None = None
) -> list[Batch]:
    """Cut a study into batches, those of training before those that need them.

    Networks that several methods connect are named with each; a store trains them once.

    Args:
        study: to be done.
        data_dir: folder of the data sets.
        checkpoints: keys of the networks that are there already, by their files.

    Raises:
        InputError: if a task, problem or method does not exist, or they do not go together.

    Example:
        >>> from thalweg.study import load_study
        >>> batches = plan(load_study("figure1-quadratic").varied(pairs=30, thresholds=[0.1]))
        >>> [len(batch.networks) or len(batch.cells) for batch in batches]
        [20, 20, 20, 10, 10, 10]
    """
    batches: list[Batch] = []
    for problem in study.problems:
        known = facts(problem, data_dir)
        size = study.pool or (1 if known.training.batch_size is not None else _POOL)
        pairs = _pairs(study, problem)
        for threshold in problem.thresholds or known.thresholds:
            for protocol in study.protocols:
                for method in study.methods:
                    ruled = rules(protocol, problem, known, method, threshold, study.limits)
                    setting = _connecting(study, problem, known, method, ruled)
                    keys = _keys(study, problem, ruled, pairs, checkpoints or {})
                    if not problem.checkpoints:
                        batches += _training(study, problem, ruled, keys, size)
                    cells = [
                        PlannedCell(
                            problem.name, protocol, threshold, a, b, method.label,
                            _hash(setting.model_copy(update={"seed": 0}), f"{size}"),
                            keys[a], keys[b],
                        )
                        for a, b in pairs
                    ]  # fmt: skip
                    batches += [
                        Batch(setting.model_copy(update={"seed": part[0].seed_a}), (), tuple(part))
                        for part in _parts(cells, size)
                    ]
    return batches


def checkpoint_key(content: str) -> str:
    """Key of a network that is given, by the hash of its weights."""
    return hashlib.sha256(f"checkpoint {content}".encode()).hexdigest()


def _pairs(study: Study, problem: Problem) -> list[tuple[int, int]]:
    """Seeds of the networks of each pair; of checkpoints, their numbers."""
    if problem.checkpoints:
        among = list(combinations(range(len(problem.checkpoints)), 2))
        return among if study.pairs is None else among[: study.pairs]
    first = study.seed
    if study.networks is not None:
        return list(combinations(range(first, first + study.networks), 2))
    return [(first + 2 * i, first + 2 * i + 1) for i in range(study.pairs or 1)]


def _connecting(
    study: Study, problem: Problem, known: Facts, method: Search, ruled: Rules
) -> Connecting:
    return Connecting(
        problem=_core(problem),
        plain=ruled.plain,
        level=ruled.level,
        method=Search(name=method.name, options=ruled.options),
        certificate=study.certificate or known.certificate,
        limits=study.limits.model_copy(update={"depth": ruled.depth}),
        seed=0,
        paths=study.paths,
    )


def _core(problem: Problem) -> Problem:
    """A problem without what makes no difference to the work."""
    return problem.model_copy(
        update={"label": None, "thresholds": None if problem.task else (1.0,), "checkpoints": (),
                "alpha": None}
    )  # fmt: skip


def _keys(
    study: Study,
    problem: Problem,
    ruled: Rules,
    pairs: Sequence[tuple[int, int]],
    checkpoints: dict[str, str],
) -> dict[int, str]:
    """The key of each network of some pairs."""
    seeds = sorted({seed for pair in pairs for seed in pair})
    if problem.checkpoints:
        return {seed: checkpoints[problem.checkpoints[seed]] for seed in seeds}
    setting = _training_setting(study, problem, ruled).model_copy(update={"seconds": None})
    return {seed: _hash(setting, f"{seed}") for seed in seeds}


def _training_setting(study: Study, problem: Problem, ruled: Rules) -> Training:
    limits = study.limits
    return Training(
        problem=_core(problem), plain=ruled.plain, target=ruled.target, steps=limits.steps,
        patience=limits.patience, seconds=limits.seconds, seed=0,
    )  # fmt: skip


def _training(
    study: Study, problem: Problem, ruled: Rules, keys: dict[int, str], size: int
) -> Iterator[Batch]:
    setting = _training_setting(study, problem, ruled)
    networks = [PlannedNetwork(key, seed) for seed, key in keys.items()]
    for part in _parts(networks, 1 if size == 1 else 2 * size):
        yield Batch(setting.model_copy(update={"seed": part[0].seed}), tuple(part))


def _parts(items: Sequence[T], size: int) -> list[Sequence[T]]:
    return [items[first : first + size] for first in range(0, len(items), size)]


def _hash(setting: Strict, more: str) -> str:
    return hashlib.sha256(f"{setting.model_dump_json()} {more}".encode()).hexdigest()
