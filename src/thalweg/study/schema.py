"""The tables of a store, their version, and how older ones are brought up to date."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    inspect,
    select,
    text,
)

from thalweg.errors import InputError

VERSION = 2
"""Of the tables below. Every change of them raises it and adds a step to :data:`MIGRATIONS`."""

_LOCK = 7_246_158
"""An advisory lock of PostgreSQL: any number that nobody else uses."""

metadata = MetaData()

meta = Table("thalweg_meta", metadata, Column("schema_version", Integer, nullable=False))

studies = Table(
    "studies", metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("specification", Text, nullable=False),
)  # fmt: skip

# Work that one process does at a time, see the contract in `store`.
batches = Table(
    "batches", metadata,
    Column("id", Integer, primary_key=True),
    Column("study", ForeignKey("studies.id"), nullable=False),
    Column("kind", Text, nullable=False),
    Column("setting", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("worker", Text),
    Column("lease_until", Double),
    Column("message", Text),
    Index("batches_by_state", "study", "state"),
)  # fmt: skip

networks = Table(
    "networks", metadata,
    Column("key", Text, primary_key=True),
    Column("batch", ForeignKey("batches.id")),
    Column("seed", BigInteger, nullable=False),
    Column("trained", Integer, nullable=False),
    Column("message", Text),
    Column("criterion", Double),
    Column("steps", BigInteger),
    Column("gradient_samples", BigInteger),
    Column("criterion_samples", BigInteger),
    Column("seconds", Double),
)  # fmt: skip

cells = Table(
    "cells", metadata,
    Column("id", Integer, primary_key=True),
    Column("study", ForeignKey("studies.id"), nullable=False),
    Column("batch", ForeignKey("batches.id"), nullable=False),
    Column("task", Text, nullable=False),
    Column("protocol", Text, nullable=False),
    Column("threshold", Double, nullable=False),
    Column("seed_a", BigInteger, nullable=False),
    Column("seed_b", BigInteger, nullable=False),
    Column("method", Text, nullable=False),
    Column("definition", Text, nullable=False),
    Column("network_a", ForeignKey("networks.key"), nullable=False),
    Column("network_b", ForeignKey("networks.key"), nullable=False),
    Column("outcome", Text),
    Column("message", Text),
    Column("certificate", Text),
    Column("normalized_length", Double),
    Column("beads", Integer),
    Column("max_criterion_bound", Double),
    Column("gradient_samples", BigInteger),
    Column("criterion_samples", BigInteger),
    Column("seconds", Double),
    Column("record", Text),
    UniqueConstraint("study", "task", "protocol", "threshold", "seed_a", "seed_b", "method"),
    Index("cells_by_batch", "batch"),
)  # fmt: skip

# Batches that must have ended before another one can begin.
needs = Table(
    "needs", metadata,
    Column("batch", ForeignKey("batches.id"), primary_key=True),
    Column("needed", ForeignKey("batches.id"), primary_key=True),
)  # fmt: skip

# Atlases of many minima, see `atlas`.
atlases = Table(
    "atlases", metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("definition", Text, nullable=False),
)  # fmt: skip

minima = Table(
    "minima", metadata,
    Column("atlas", ForeignKey("atlases.id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("seed", BigInteger, nullable=False),
    Column("criterion", Double, nullable=False),
)  # fmt: skip

links = Table(
    "links", metadata,
    Column("id", Integer, primary_key=True),
    Column("atlas", ForeignKey("atlases.id"), nullable=False),
    Column("a", Integer, nullable=False),
    Column("b", Integer, nullable=False),
    Column("threshold", Double, nullable=False),
    Column("level", Double),  # null where no path was found
    Column("certificate", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("beads", Integer, nullable=False),
    Column("normalized_length", Double),
    Column("gradient_samples", BigInteger, nullable=False),
    Column("criterion_samples", BigInteger, nullable=False),
    Index("links_by_atlas", "atlas"),
)  # fmt: skip


def _add_atlases(connection: Connection) -> None:
    metadata.create_all(connection, tables=[atlases, minima, links])


MIGRATIONS: dict[int, Callable[[Connection], None]] = {1: _add_atlases}
"""From a version to the next: a function that changes the tables within the transaction."""


def lock(connection: Connection) -> None:
    """Keep others from doing the same until the transaction ends; SQLite does that by itself."""
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))


def prepare(connection: Connection) -> None:
    """Make the tables, or bring those that are there up to date.

    Args:
        connection: in a transaction that nobody else can be in.

    Raises:
        InputError: if the tables are of a newer version, or not of a store.
    """
    lock(connection)
    found = set(inspect(connection).get_table_names())
    if meta.name not in found:
        taken = sorted(found & set(metadata.tables))
        if taken:
            raise InputError(
                f"expected an empty database or a store of studies, got one with other tables "
                f"named {', '.join(taken)}: choose another database"
            )
        metadata.create_all(connection)
        connection.execute(meta.insert().values(schema_version=VERSION))
        return
    version = connection.execute(select(meta.c.schema_version)).scalar()
    if version is None or version > VERSION:
        raise InputError(
            f"expected a store of version {VERSION} or older, got version {version}: it was made "
            "by a newer thalweg, update this one"
        )
    for step in range(version, VERSION):
        MIGRATIONS[step](connection)
        connection.execute(meta.update().values(schema_version=step + 1))
