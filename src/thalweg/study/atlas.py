"""Atlases in a store: minima, the searches between them and their levels, growing run by run.

A store may hold any number of atlases beside its studies. A minimum is written once, when it has
been trained; a search is written as soon as it has ended, with its path in a folder of its own if
it found one. A run that is broken off loses the searches that were going on, and the next one,
with more minima or further levels if wanted, goes on from what is there. One process at a time
should work on an atlas: two would do the same searches twice, and keep both.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sqlalchemy import Connection as Database
from sqlalchemy import insert, select, update
from torch import Tensor

from thalweg.connect import Budget, Connection, train
from thalweg.errors import InputError
from thalweg.parameters import load_checkpoint, save_checkpoint
from thalweg.study.database import reading, writing
from thalweg.study.problem import build, facts
from thalweg.study.schema import atlases, links, minima
from thalweg.study.spec import Problem
from thalweg.study.store import Store
from thalweg.topology import Atlas, Link, explore, lower_levels

# What of a definition may differ from run to run: the first target stays, levels are added.
_GROWING = {"target", "levels"}


def run_atlas(
    store: Store,
    name: str,
    problem: Problem,
    levels: Sequence[float],
    *,
    models: int,
    seed: int = 0,
    align: bool | str = False,
    method: str = "greedy",
    certificate: str | None = None,
    attempts: int | None = None,
    budget: Budget | None = None,
    data_dir: Path | None = None,
    device: str | None = None,
    progress: Callable[[str], None] | None = None,
) -> Atlas:
    """Train the minima that an atlas lacks, and search until its levels are settled.

    Args:
        store: where it is kept.
        name: of the atlas in the store.
        problem: task or problem of one's own.
        levels: to look at.
        models: minima, of seeds ``seed``, ``seed + 1``, …; trained to ``alpha`` times the lowest
            level of the first run.
        seed: the first seed, of networks and searches.
        align: see :func:`thalweg.topology.explore`.
        method: see :func:`thalweg.connect`.
        certificate: None: the problem's.
        attempts: see :func:`thalweg.topology.explore`.
        budget: of each round of searches, and of training.
        data_dir: folder of the data sets.
        device: where to compute.
        progress: called with a sentence now and then.

    Returns:
        The atlas with everything that the store knows of it.

    Raises:
        InputError: if the store has an atlas of that name with another definition, or there are
            fewer than two models or no levels.
        TrainingError: if a minimum does not reach its target.
    """
    if models < 2 or not levels or not min(levels) > 0:
        raise InputError(
            f"expected at least two models and levels > 0 for an atlas, got {models} models and "
            f"levels {list(levels)}"
        )
    known, built = facts(problem, data_dir), build(problem, data_dir, device)
    definition = {
        "problem": problem.model_dump(exclude={"label", "thresholds"}, mode="json"),
        "seed": seed, "align": align, "target": known.alpha * min(levels),
        "levels": sorted(set(levels)),
    }  # fmt: skip
    number, target = _register(store, name, definition)
    say = progress or (lambda sentence: None)
    thetas = _minima(store, number)
    missing = range(len(thetas), models)
    if missing:
        say(f"training {len(missing)} models to {target:.4g}")
        drawn = [built.draw(seed + i) for i in missing]
        for i, trained in zip(
            missing, train(built.objective, drawn, target, seed=seed, budget=budget), strict=True
        ):
            _keep_minimum(store, number, i, seed + i, trained.theta, trained.criterion)
            thetas.append(trained.theta)

    def keep(link: Link, connection: Connection) -> None:
        _keep_link(store, number, link, connection)

    return explore(
        built.objective, thetas, levels, method=method,
        certificate=certificate or known.certificate, align=align, attempts=attempts, seed=seed,
        budget=budget, known=_links(store, number), store=keep, progress=progress,
    )  # fmt: skip


def atlas_names(store: Store) -> tuple[str, ...]:
    """Names of the atlases of a store, the oldest first."""
    with reading(store.engine) as database:
        found = database.execute(select(atlases.c.name).order_by(atlases.c.id)).scalars()
        return tuple(found)


def atlas_levels(store: Store, name: str) -> tuple[float, ...]:
    """The levels that an atlas was asked for, in all its runs, the lowest first.

    Args:
        store: where it is kept.
        name: of the atlas.

    Raises:
        InputError: if there is none of that name.
    """
    with reading(store.engine) as database:
        row = _row(database, name)
    searched = (link.threshold for link in _links(store, row.id))
    return tuple(sorted({*json.loads(row.definition).get("levels", ()), *searched}))


def load_atlas(store: Store, name: str, data_dir: Path | None = None) -> Atlas:
    """What a store knows of an atlas, without computing anything.

    Straight lines are not kept: their place holds what the energies tell.

    Args:
        store: where it is kept.
        name: of the atlas.
        data_dir: folder of the data sets.

    Returns:
        The atlas.

    Raises:
        InputError: if there is none of that name, or it has no minima yet.
    """
    with reading(store.engine) as database:
        row = _row(database, name)
        energies = np.array(
            database.execute(
                select(minima.c.criterion).where(minima.c.atlas == row.id).order_by(minima.c.number)
            ).scalars().all()
        )  # fmt: skip
    thetas = _minima(store, row.id)
    if not thetas:
        raise InputError(f"expected an atlas with minima, got '{name}' without: run it on")
    above = np.maximum.outer(energies, energies)
    definition = json.loads(row.definition)
    problem = Problem.model_validate(definition["problem"] | {"thresholds": (1.0,)})
    objective = build(problem, data_dir).objective
    criterion, points = objective.criterion, torch.stack(thetas)
    return Atlas(
        thetas=points, energies=energies, straight=above,
        lower=above if definition["align"] else lower_levels(objective, points, energies),
        links=tuple(_links(store, row.id)), aligned=bool(definition["align"]),
        criterion={"name": criterion.name, "split": criterion.split},
    )  # fmt: skip


def _row(database: Database, name: str) -> Any:
    """An atlas of the store.

    Raises:
        InputError: if there is none of that name.
    """
    row = database.execute(select(atlases).where(atlases.c.name == name)).one_or_none()
    if row is None:
        names = ", ".join(database.execute(select(atlases.c.name)).scalars()) or "it has none"
        raise InputError(
            f"expected an atlas that the store has ({names}), got '{name}': run it first"
        )
    return row


def _register(store: Store, name: str, definition: dict[str, Any]) -> tuple[int, float]:
    """The number of an atlas, made if there is none, and the target of its minima."""
    with writing(store.engine) as database:
        row = database.execute(select(atlases).where(atlases.c.name == name)).one_or_none()
        if row is None:
            number = database.execute(
                insert(atlases).values(name=name, definition=json.dumps(definition, sort_keys=True))
                .returning(atlases.c.id)
            ).scalar_one()  # fmt: skip
            return number, definition["target"]
        there = json.loads(row.definition)
        if any(there[key] != definition[key] for key in definition.keys() - _GROWING):
            raise InputError(
                f"expected the problem, seed and alignment that atlas '{name}' was begun with, got "
                "others: give it another name"
            )
        levels = sorted({*there.get("levels", ()), *definition["levels"]})
        database.execute(
            update(atlases).where(atlases.c.id == row.id)
            .values(definition=json.dumps(there | {"levels": levels}, sort_keys=True))
        )  # fmt: skip
    return row.id, there["target"]


def _minima(store: Store, atlas: int) -> list[Tensor]:
    with reading(store.engine) as database:
        numbers = database.execute(
            select(minima.c.number).where(minima.c.atlas == atlas).order_by(minima.c.number)
        ).scalars()
        return [load_checkpoint(_minimum_file(store, atlas, i))["theta"] for i in numbers]


def _links(store: Store, atlas: int) -> list[Link]:
    with reading(store.engine) as database:
        rows = database.execute(
            select(links).where(links.c.atlas == atlas).order_by(links.c.id)
        ).mappings()
        return [
            Link(**{field.name: row[field.name] for field in fields(Link) if field.name != "level"},
                 level=np.inf if row["level"] is None else row["level"])
            for row in rows
        ]  # fmt: skip


def _keep_minimum(
    store: Store, atlas: int, number: int, seed: int, theta: Tensor, criterion: float
) -> None:
    save_checkpoint(_minimum_file(store, atlas, number), {"theta": theta})
    with writing(store.engine) as database:
        database.execute(
            insert(minima).values(atlas=atlas, number=number, seed=seed, criterion=criterion)
        )


def _keep_link(store: Store, atlas: int, link: Link, connection: Connection) -> None:
    row = asdict(link) | {"level": link.level if link.connected else None}
    with writing(store.engine) as database:
        number = database.execute(
            insert(links).values(atlas=atlas, **row).returning(links.c.id)
        ).scalar_one()
        if link.connected:  # the folder before the row can be seen
            connection.save(store.atlas_folder(atlas) / "paths" / str(number))


def _minimum_file(store: Store, atlas: int, number: int) -> Path:
    return store.atlas_folder(atlas) / "minima" / f"{number}.safetensors"
