"""Adding a study to a store: only what is new, so that a study can be extended and resumed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, select

from thalweg.errors import InputError
from thalweg.study.plan import Batch, Connecting, PlannedCell
from thalweg.study.schema import batches, cells, lock, needs, networks, studies
from thalweg.study.spec import Study

Place = tuple[str, str, float, int, int, str]


def register(database: Connection, study: Study, planned: Sequence[Batch]) -> None:
    """Add batches, networks and cells that the store does not have.

    Args:
        database: in a transaction that writes.
        study: its name and specification.
        planned: its batches, those of training first.

    Raises:
        InputError: if the store has cells of that name with other settings.
    """
    lock(database)
    number = _study(database, study)
    known_networks = _known_networks(database)
    known_cells = _known_cells(database, number)
    for batch in planned:
        new_networks = [n for n in batch.networks if n.key not in known_networks]
        new_cells = [cell for cell in batch.cells if _is_new(study, cell, known_cells)]
        if not (new_networks or new_cells):
            continue
        own = database.execute(
            batches.insert().values(
                study=number, state="open", attempts=0,
                kind="connecting" if isinstance(batch.setting, Connecting) else "training",
                setting=batch.setting.model_dump_json(),
            )
        ).inserted_primary_key  # fmt: skip
        own = own[0] if own else None
        for network in new_networks:
            known_networks[network.key] = own
            database.execute(
                networks.insert().values(
                    key=network.key, batch=own, seed=network.seed, trained=0
                )
            )  # fmt: skip
        for cell in new_cells:
            database.execute(cells.insert().values(study=number, batch=own, **vars(cell)))
        keys = {key for cell in new_cells for key in (cell.network_a, cell.network_b)}
        needed_batches = {known_networks[key] for key in keys}
        for needed in sorted(number for number in needed_batches if number is not None):
            database.execute(needs.insert().values(batch=own, needed=needed))


def add_given(database: Connection, key: str) -> None:
    """Note a network that needs no training: a checkpoint of the user's."""
    if database.execute(select(networks.c.key).where(networks.c.key == key)).scalar() is None:
        database.execute(networks.insert().values(key=key, batch=None, seed=0, trained=1))


def _study(database: Connection, study: Study) -> int:
    content = study.model_dump_json()
    number = database.execute(select(studies.c.id).where(studies.c.name == study.name)).scalar()
    if number is None:
        made = database.execute(studies.insert().values(name=study.name, specification=content))
        return made.inserted_primary_key[0] if made.inserted_primary_key else 0
    database.execute(
        studies.update().where(studies.c.id == number).values(specification=content)
    )  # fmt: skip
    return number


def _known_networks(database: Connection) -> dict[str, int | None]:
    rows = database.execute(select(networks.c.key, networks.c.batch))
    return {row.key: row.batch for row in rows}


def _known_cells(database: Connection, study: int) -> dict[Place, tuple[str, str, str]]:
    rows = database.execute(select(cells).where(cells.c.study == study))
    return {_place(row): _identity(row) for row in rows}


def _identity(cell: Any) -> tuple[str, str, str]:
    """All that a cell depends on and that is no column of the table."""
    return cell.definition, cell.network_a, cell.network_b


def _place(cell: Any) -> Place:
    return (
        cell.task, cell.protocol, cell.threshold, cell.seed_a, cell.seed_b, cell.method
    )  # fmt: skip


def _is_new(study: Study, cell: PlannedCell, known: dict[Place, tuple[str, str, str]]) -> bool:
    there = known.get(_place(cell))
    if there is not None and there != _identity(cell):
        raise InputError(
            f"expected the study {study.name} with the settings that the store has it with, got "
            f"other ones for {cell.task} at {cell.threshold:g} with {cell.method}: its results "
            "would not be comparable; give it another name, or name another --store"
        )
    return there is None
