"""Engines: SQLite files and PostgreSQL servers behind one URL."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, create_engine, event, text
from sqlalchemy.engine import URL, Engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, OperationalError

from thalweg.errors import InputError

# Seconds that a transaction waits for another one of SQLite, which allows one writer at a time.
_PATIENCE = 60
_FORMS = "a file such as studies.db, sqlite:///studies.db or postgresql://user@host/database"


def parse_url(where: str) -> URL:
    """The URL of a store.

    Args:
        where: the URL, or the name of an SQLite file.

    Raises:
        InputError: if it is neither.

    Example:
        >>> parse_url("studies.db"), parse_url("postgresql://me@there/it").drivername
        (sqlite:///studies.db, 'postgresql+psycopg')
    """
    if "://" not in where:
        return URL.create("sqlite", database=where)
    try:
        url = make_url(where)
    except (ArgumentError, ValueError) as error:
        raise InputError(f"expected {_FORMS} as a store, got '{where}' ({error})") from error
    if url.drivername in ("postgresql", "postgres"):
        url = url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        raise InputError(f"expected {_FORMS} as a store, got a {url.get_backend_name()} URL")
    if url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:"):
        raise InputError(f"expected {_FORMS} as a store, got no file: name one")
    return url


def connect(url: URL, *, create: bool) -> Engine:
    """An engine whose transactions are serial where they write.

    Args:
        url: of :func:`parse_url`.
        create: whether an SQLite file may be made.

    Raises:
        InputError: if it cannot be reached.
    """
    if url.get_backend_name() == "sqlite":
        return _sqlite(url, create=create)
    try:
        engine = create_engine(url, pool_pre_ping=True)
    except (NoSuchModuleError, ImportError) as error:
        raise InputError(
            f"expected psycopg for a store on PostgreSQL, got '{error}': "
            "pip install thalweg[postgres]"
        ) from error
    try:
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))
    except OperationalError as error:
        reason = " ".join(str(error.orig).split())
        raise InputError(
            f"expected a PostgreSQL server at {url.render_as_string()}, got '{reason}': check the "
            "address and that it runs"
        ) from error
    return engine


@contextlib.contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that writes: on SQLite it holds the one lock from its beginning."""
    writer = engine.connect().execution_options(thalweg_begin="BEGIN IMMEDIATE")
    with writer as connection, connection.begin():
        yield connection


@contextlib.contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A transaction that reads."""
    with engine.connect() as connection, connection.begin():
        yield connection


def now(connection: Connection) -> float:
    """Seconds since 1970 by the clock of the database, which all workers have in common."""
    if connection.dialect.name == "sqlite":
        clock = "(julianday('now') - 2440587.5) * 86400.0"
    else:
        clock = "extract(epoch from clock_timestamp())"
    return float(connection.execute(text(f"SELECT {clock}")).scalar_one())


def _write_ahead(connection: Any) -> None:
    """Let readers and the writer not wait for each other.

    SQLite does not wait for its timeout where two processes ask for this of a new file at once.

    Raises:
        OperationalError: if the file stays locked, or cannot be written.
    """
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(0.02)
        else:
            return


def _sqlite(url: URL, *, create: bool) -> Engine:
    file = Path(str(url.database))
    if not create and not file.is_file():
        raise InputError(f"expected a store at {file}, got no such file: check --store")
    if file.is_dir() or not file.absolute().parent.is_dir():
        what = "a folder" if file.is_dir() else "no folder to put it in"
        raise InputError(f"expected a file for the store, got {what} at {file}: choose another")
    engine = create_engine(url, connect_args={"timeout": _PATIENCE})

    # The driver would begin transactions on its own, and late: after what was read has changed.
    @event.listens_for(engine, "connect")
    def _connected(connection: Any, record: Any) -> None:
        del record
        connection.isolation_level = None
        _write_ahead(connection)
        connection.execute("PRAGMA foreign_keys = ON")
        # Written to the disk before a result counts as stored: it survives a power failure.
        connection.execute("PRAGMA synchronous = FULL")

    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        options = connection.get_execution_options()
        connection.exec_driver_sql(options.get("thalweg_begin", "BEGIN"))

    try:
        engine.connect().close()
    except DBAPIError as error:
        reason = " ".join(str(error.orig).split())
        raise InputError(
            f"expected an SQLite database at {file}, got '{reason}': choose another file, on a "
            "local disk"
        ) from error
    return engine
