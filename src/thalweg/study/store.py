"""The store: what is to be done, who is doing it, and what came out.

**The contract.**

*What there is.* A study has cells; cells and the networks that they connect stand in batches
(:mod:`thalweg.study.plan`). A batch is ``open``, ``running``, ``done`` or ``failed``.

*Who owns a running batch.* The worker whose name stands in it, until its lease runs out. A worker
claims an open batch by one atomic statement, so that two never get the same; it renews the lease a
few times a minute while it computes. Whether a lease has run out is told by the clock of the
database alone.

*What is immutable.* A cell that has an outcome and a network that has been trained: they are
written in the transaction that makes their batch ``done``, only by the worker that still owns it,
and never again. Who has lost the lease meanwhile has its results thrown away.

*What a crash leaves.* A batch that is ``running``, with the name of a worker that is no more. It
becomes ``open`` again as soon as its lease has run out, or at once where somebody on the same host
sees that the process is gone. Each claim counts as an attempt; a batch that was attempted
:data:`thalweg.study.claims.ATTEMPTS` times ends as ``failed``, and so do its cells, by name.
Nothing else is left but files without an owner, which the next attempt replaces by the same
content.

*In which order.* A batch of cells is not claimed before those that train its networks have ended.

Weights are files beside the database, one file a network, one folder a path. They are written under
a temporary name, and renamed within the transaction that tells of them, by its owner alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection as Database
from sqlalchemy import exists, or_, select, update
from torch import Tensor

from thalweg.errors import InputError
from thalweg.parameters import load_checkpoint, save_checkpoint
from thalweg.study.claims import (
    Claim,
    Tally,
    end_batch,
    lose_batch,
    owned,
    read_claim,
    study_number,
    tally_of,
)
from thalweg.study.database import connect, now, parse_url, reading, writing
from thalweg.study.moving import move, moving
from thalweg.study.plan import Batch
from thalweg.study.registration import add_given, register
from thalweg.study.results import COLUMNS, OPEN, RUNNING, Cell, Network, Row
from thalweg.study.schema import batches, cells, needs, networks, prepare, studies
from thalweg.study.spec import Study
from thalweg.study.worker import is_dead

LEASE = 60.0
"""Seconds that a claim holds without being renewed."""


class Store:
    """A database of studies, and a folder of weights.

    Args:
        where: URL, or the name of an SQLite file.
        files: folder of weights; None: beside the SQLite file.
        create: whether to make one where there is none.
        lease: seconds that a claim holds.

    Raises:
        InputError: if it cannot be opened.
    """

    def __init__(
        self,
        where: str,
        files: Path | None = None,
        *,
        create: bool = True,
        lease: float = LEASE,
    ) -> None:
        url = parse_url(where)
        self.where = where
        self.lease = lease
        self.files = files
        if files is None and url.get_backend_name() == "sqlite":
            self.files = Path(str(url.database) + ".files")
        self.engine = connect(url, create=create)
        with writing(self.engine) as database:
            prepare(database)

    def close(self) -> None:
        """Let go of the database."""
        self.engine.dispose()

    # ------------------------------------------------------------------ what is to be done

    def register(self, study: Study, planned: Sequence[Batch]) -> None:
        """Add what a study needs and the store lacks; what is there stays as it is.

        Args:
            study: its name and specification.
            planned: its batches.

        Raises:
            InputError: if the store has cells of that name with other settings.
        """
        with writing(self.engine) as database:
            register(database, study, planned)

    def studies(self) -> dict[str, Tally]:
        """Names of the studies, and how far they have come."""
        with reading(self.engine) as database:
            names = database.execute(select(studies.c.name).order_by(studies.c.id)).scalars()
            return {name: tally_of(database, study_number(database, name)) for name in names}

    def specification(self, study: str) -> str:
        """The specification of a study as it was registered last, as JSON.

        Raises:
            InputError: if the store has no such study.
        """
        with reading(self.engine) as database:
            return database.execute(
                select(studies.c.specification).where(studies.c.id == study_number(database, study))
            ).scalar_one()

    def tally(self, study: str) -> Tally:
        """How far a study has come.

        Raises:
            InputError: if the store has no such study.
        """
        with reading(self.engine) as database:
            return tally_of(database, study_number(database, study))

    # ------------------------------------------------------------------------ who is doing it

    def claim(self, study: str, worker: str) -> Claim | None:
        """Own the next batch of a study; None if there is none to be had now.

        Args:
            study: its name.
            worker: of :func:`~thalweg.study.worker.worker_name`.

        Raises:
            InputError: if the store has no such study.
        """
        with writing(self.engine) as database:
            self._reclaim(database)
            number = study_number(database, study)
            batch = self._take(database, number, worker)
            return None if batch is None else read_claim(database, batch, worker)

    def renew(self, worker: str) -> None:
        """Prolong the leases of a worker."""
        with writing(self.engine) as database:
            database.execute(
                update(batches)
                .where(batches.c.worker == worker, batches.c.state == RUNNING)
                .values(lease_until=now(database) + self.lease)
            )

    def give_back(self, claim: Claim) -> None:
        """Own a batch no longer, as if it had not been claimed."""
        with writing(self.engine) as database:
            database.execute(
                update(batches)
                .where(owned(claim))
                .values(state=OPEN, worker=None, lease_until=None,
                        attempts=batches.c.attempts - 1)
            )  # fmt: skip

    def break_off(self, claim: Claim, reason: str, *, final: bool = False) -> None:
        """Own a batch no longer, since computing it raised an error; it is tried again, or failed.

        Args:
            claim: the batch.
            reason: in one sentence.
            final: whether it is not to be tried again.
        """
        with writing(self.engine) as database:
            row = database.execute(select(batches).where(owned(claim))).one_or_none()
            if row is not None:
                lose_batch(database, row, reason, final=final)

    # ---------------------------------------------------------------------------- what came out

    def finish_training(self, claim: Claim, trained: Mapping[str, Network]) -> bool:
        """Store trained networks and end their batch.

        Args:
            claim: the batch.
            trained: by key.

        Returns:
            Whether the worker still owned it; otherwise nothing is stored.
        """
        ready: dict[Path, Path] = {}
        for key, network in trained.items():
            if network.theta is not None:
                file = self._network_file(key)
                ready[file] = file.with_name(f".{key}.{claim.token}.safetensors")
                save_checkpoint(ready[file], {"theta": network.theta})
        with moving(ready), writing(self.engine) as database:
            if not end_batch(database, claim):
                return False
            move(ready)
            for key, network in trained.items():
                database.execute(
                    update(networks)
                    .where(networks.c.key == key, networks.c.trained == 0)
                    .values(
                        trained=int(network.theta is not None), message=network.message,
                        criterion=network.criterion, steps=network.steps,
                        gradient_samples=network.gradient_samples,
                        criterion_samples=network.criterion_samples, seconds=network.seconds,
                    )
                )  # fmt: skip
            return True

    def finish_cells(self, claim: Claim, results: Mapping[int, Cell]) -> bool:
        """Store the results of cells and end their batch.

        Args:
            claim: the batch.
            results: by number.

        Returns:
            Whether the worker still owned it; otherwise nothing is stored.
        """
        ready: dict[Path, Path] = {}
        for number, cell in results.items():
            if cell.connection is not None:
                folder = self.path_folder(number)
                ready[folder] = folder.with_name(f".{number}.{claim.token}")
                cell.connection.save(ready[folder])
        with moving(ready), writing(self.engine) as database:
            if not end_batch(database, claim):
                return False
            move(ready)
            for number, cell in results.items():
                database.execute(
                    update(cells)
                    .where(cells.c.id == number, cells.c.outcome.is_(None))
                    .values(
                        outcome=cell.outcome, message=cell.message, certificate=cell.certificate,
                        normalized_length=cell.normalized_length, beads=cell.beads,
                        max_criterion_bound=cell.max_criterion_bound,
                        gradient_samples=cell.gradient_samples,
                        criterion_samples=cell.criterion_samples, seconds=cell.seconds,
                        record=None if cell.record is None else json.dumps(dict(cell.record)),
                    )
                )  # fmt: skip
            return True

    def rows(self, study: str) -> list[Row]:
        """All cells of a study, in the order of its grid, those without a result included.

        Raises:
            InputError: if the store has no such study.
        """
        return [
            Row(**{name: row[name] for name in COLUMNS if name != "outcome"},
                outcome=row["outcome"] or row["state"])
            for row in self.records(study)
        ]  # fmt: skip

    def records(self, study: str) -> list[dict[str, Any]]:
        """All that is known of the cells of a study: the columns of the table and more.

        Raises:
            InputError: if the store has no such study.
        """
        with reading(self.engine) as database:
            found = database.execute(
                select(cells, batches.c.state)
                .join(batches, cells.c.batch == batches.c.id)
                .where(cells.c.study == study_number(database, study))
                .order_by(cells.c.id)
            )
            return [dict(row) for row in found.mappings()]

    # ---------------------------------------------------------------------------------- weights

    def network(self, key: str) -> Tensor | None:
        """Weights `[p]` of a network; None if it was not trained."""
        with reading(self.engine) as database:
            trained = database.execute(
                select(networks.c.trained).where(networks.c.key == key)
            ).scalar()
        return load_checkpoint(self._network_file(key))["theta"] if trained else None

    def give_network(self, key: str, theta: Tensor) -> None:
        """Add a network that needs no training."""
        self.save_network(key, theta)
        with writing(self.engine) as database:
            add_given(database, key)

    def save_network(self, key: str, theta: Tensor) -> None:
        """Write the weights of a network."""
        save_checkpoint(self._network_file(key), {"theta": theta})

    def path_folder(self, cell: int) -> Path:
        """Where the path of a cell is, or would be."""
        return self._folder() / "paths" / str(cell)

    def atlas_folder(self, atlas: int) -> Path:
        """Where minima and paths of an atlas are, or would be."""
        return self._folder() / "atlases" / str(atlas)

    def _network_file(self, key: str) -> Path:
        return self._folder() / "networks" / f"{key}.safetensors"

    def _folder(self) -> Path:
        if self.files is None:
            raise InputError(
                "expected a folder for the weights of a store that is no SQLite file, got none: "
                "name one with --files"
            )
        return self.files

    # ------------------------------------------------------------------------------ inner parts

    def _take(self, database: Database, study: int, worker: str) -> int | None:
        """Make an open batch running: one statement, which nobody else can come into."""
        needed = batches.alias("needed")
        waiting = exists().where(
            needs.c.batch == batches.c.id,
            needs.c.needed == needed.c.id,
            needed.c.state.in_((OPEN, RUNNING)),
        )
        user = batches.alias("user")
        used = exists().where(
            needs.c.needed == batches.c.id, needs.c.batch == user.c.id, user.c.study == study
        )
        free = (
            select(batches.c.id)
            .where(
                batches.c.state == OPEN, or_(batches.c.study == study, used), ~waiting
            )
            .order_by(batches.c.id)
            .limit(1)
            .with_for_update(skip_locked=True)
            .scalar_subquery()
        )  # fmt: skip
        return database.execute(
            update(batches)
            .where(batches.c.id == free, batches.c.state == OPEN)
            .values(state=RUNNING, worker=worker, lease_until=now(database) + self.lease,
                    attempts=batches.c.attempts + 1)
            .returning(batches.c.id)
        ).scalar()  # fmt: skip

    def _reclaim(self, database: Database) -> None:
        """Take batches from workers that are no more."""
        held = database.execute(
            select(batches).where(batches.c.state == RUNNING).with_for_update(skip_locked=True)
        ).all()
        time = now(database)
        for row in held:
            if is_dead(row.worker):
                lose_batch(database, row, "the process that computed it was killed")
            elif row.lease_until < time:
                lose_batch(database, row, f"nothing was heard of its worker for {self.lease:g} s")
