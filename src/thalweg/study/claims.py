"""Batches of a store: who owns one, how one ends, and how many have ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection as Database
from sqlalchemy import and_, exists, func, select, update

from thalweg.errors import InputError
from thalweg.study.plan import Connecting, Training
from thalweg.study.results import FAILED, OPEN, RUNNING
from thalweg.study.schema import batches, cells, needs, networks, studies

ATTEMPTS = 3
"""How often a batch is tried."""


@dataclass(frozen=True)
class Claim:
    """A batch that a worker owns.

    Attributes:
        batch: its number.
        worker: its owner.
        attempt: how often it has been claimed, this time included.
        setting: how it is to be done.
        seeds: of networks to be trained, by key.
        pairs: keys of the endpoints of each cell to be computed, by its number.
    """

    batch: int
    worker: str
    attempt: int
    setting: Training | Connecting
    seeds: Mapping[str, int]
    pairs: Mapping[int, tuple[str, str]]

    @property
    def token(self) -> str:
        """What files are called until it is sure that they are to be kept."""
        return f"{self.worker.rpartition('/')[2]}-{self.attempt}"


@dataclass(frozen=True)
class Tally:
    """How far a study has come.

    Attributes:
        done: cells that have an outcome, failed ones aside.
        running: cells that somebody computes, or whose networks somebody trains.
        failed: cells whose computation broke off too often.
        open: cells that wait.
        batches_left: batches that have not ended.
    """

    done: int
    running: int
    failed: int
    open: int
    batches_left: int

    @property
    def total(self) -> int:
        """All cells."""
        return self.done + self.running + self.failed + self.open


def study_number(database: Database, name: str) -> int:
    """The number of a study.

    Raises:
        InputError: if the store has no such study.
    """
    number = database.execute(select(studies.c.id).where(studies.c.name == name)).scalar()
    if number is None:
        names = database.execute(select(studies.c.name)).scalars().all()
        raise InputError(
            f"expected a study that the store has ({', '.join(names) or 'it has none'}), got "
            f"'{name}': run it first, or name another --store"
        )
    return number


def tally_of(database: Database, study: int) -> Tally:
    """How far a study has come."""
    training = batches.alias("training")
    in_training = exists().where(
        needs.c.batch == batches.c.id, needs.c.needed == training.c.id, training.c.state == RUNNING
    )
    counted = database.execute(
        select(batches.c.state, in_training.label("training"), cells.c.outcome,
               func.count().label("count"))
        .join(cells, cells.c.batch == batches.c.id)
        .where(cells.c.study == study)
        .group_by(batches.c.state, "training", cells.c.outcome)
    ).all()  # fmt: skip
    ended = {"done": 0, "failed": 0, RUNNING: 0, OPEN: 0}
    for state, training_now, outcome, count in counted:
        if outcome is not None:
            ended["failed" if outcome == FAILED else "done"] += count
        else:
            ended[RUNNING if state == RUNNING or training_now else OPEN] += count
    left = database.execute(
        select(func.count()).where(
            batches.c.study == study, batches.c.state.in_((OPEN, RUNNING))
        )
    ).scalar_one()  # fmt: skip
    return Tally(ended["done"], ended[RUNNING], ended["failed"], ended[OPEN], left)


def read_claim(database: Database, number: int, worker: str) -> Claim:
    """A batch as its owner needs it."""
    row = database.execute(select(batches).where(batches.c.id == number)).one()
    kind = Training if row.kind == "training" else Connecting
    to_train = database.execute(
        select(networks.c.key, networks.c.seed)
        .where(networks.c.batch == number).order_by(networks.c.seed)
    )  # fmt: skip
    to_connect = database.execute(
        select(cells.c.id, cells.c.network_a, cells.c.network_b)
        .where(cells.c.batch == number).order_by(cells.c.id)
    )  # fmt: skip
    return Claim(
        number, worker, row.attempts, kind.model_validate_json(row.setting),
        {network.key: network.seed for network in to_train},
        {cell.id: (cell.network_a, cell.network_b) for cell in to_connect},
    )  # fmt: skip


def owned(claim: Claim) -> Any:
    """The condition that a batch is still its worker's."""
    return and_(
        batches.c.id == claim.batch, batches.c.worker == claim.worker, batches.c.state == RUNNING
    )


def end_batch(database: Database, claim: Claim) -> bool:
    """Make a batch done, if its worker still owns it."""
    ended = database.execute(
        update(batches).where(owned(claim)).values(state="done", worker=None, lease_until=None)
    )
    return ended.rowcount == 1


def lose_batch(database: Database, row: Any, reason: str, *, final: bool = False) -> None:
    """A running batch without a worker: to be tried again, or failed with all that is in it."""
    failed = final or row.attempts >= ATTEMPTS
    message = f"{reason} (attempt {row.attempts} of {ATTEMPTS})"
    database.execute(
        update(batches).where(batches.c.id == row.id).values(
            state=FAILED if failed else OPEN, worker=None, lease_until=None, message=message,
        )
    )  # fmt: skip
    if failed:
        database.execute(
            update(cells).where(cells.c.batch == row.id, cells.c.outcome.is_(None))
            .values(outcome=FAILED, message=message)
        )  # fmt: skip
        database.execute(
            update(networks).where(networks.c.batch == row.id).values(message=message)
        )  # fmt: skip


def describe(tally: Tally) -> dict[str, int]:
    """A tally as part of a JSON document."""
    return {**asdict(tally), "total": tally.total}
