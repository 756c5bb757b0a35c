"""Versions of the store: older ones are brought up to date, newer ones refused."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.study.test_store import NAME, STUDY, finish_all, registered
from thalweg.errors import InputError
from thalweg.study import Store, schema
from thalweg.study.database import parse_url

ASSETS = Path(__file__).parent / "assets"


def restored(folder: Path, version: int) -> str:
    """A store as that version of the package wrote it."""
    file = folder / "old.db"
    with sqlite3.connect(file) as database:
        database.executescript((ASSETS / f"version-{version}.sql").read_text())
    database.close()
    return str(file)


@pytest.mark.parametrize("version", range(1, schema.VERSION + 1))
def test_stores_of_every_version_are_read_and_go_on(tmp_path, version):
    store = Store(restored(tmp_path, version))
    rows = store.rows(NAME)
    assert [row.outcome for row in rows] == ["connected", "connected", "open", "open"]
    assert rows[0].normalized_length == 1.25
    registered(store, STUDY)
    finish_all(store)
    assert all(row.connected for row in store.rows(NAME))
    store.close()


def test_a_store_is_migrated_step_by_step_when_it_is_opened(tmp_path, monkeypatch):
    where = restored(tmp_path, 1)
    steps = {
        1: lambda database: database.execute(text("ALTER TABLE studies ADD COLUMN owner TEXT")),
        2: lambda database: database.execute(text("UPDATE studies SET owner = 'me'")),
    }
    monkeypatch.setattr(schema, "VERSION", 3)
    monkeypatch.setattr(schema, "MIGRATIONS", steps)
    for _ in range(2):  # the second time there is nothing to do
        Store(where).close()
        with sqlite3.connect(where) as database:
            assert database.execute("SELECT owner FROM studies").fetchall() == [("me",)]
            assert database.execute("SELECT schema_version FROM thalweg_meta").fetchall() == [(3,)]
        database.close()


def test_a_migration_that_fails_leaves_the_store_as_it_was(tmp_path, monkeypatch):
    where = restored(tmp_path, 1)

    def half(database) -> None:
        database.execute(text("ALTER TABLE studies ADD COLUMN owner TEXT"))
        raise RuntimeError("power failure")

    with monkeypatch.context() as patch:
        patch.setattr(schema, "VERSION", 2)
        patch.setattr(schema, "MIGRATIONS", {1: half})
        with pytest.raises(RuntimeError):
            Store(where)
    store = Store(where)
    assert len(store.rows(NAME)) == 4
    store.close()


def test_a_store_of_a_newer_version_is_refused(tmp_path, monkeypatch):
    where = restored(tmp_path, 1)
    monkeypatch.setattr(schema, "VERSION", 0)
    with pytest.raises(InputError, match="version 0 or older, got version 1"):
        Store(where)


def test_databases_of_something_else_are_refused(tmp_path):
    file = tmp_path / "other.db"
    with sqlite3.connect(file) as database:
        database.execute("CREATE TABLE cells (id INTEGER)")
    database.close()
    with pytest.raises(InputError, match="other tables named cells"):
        Store(str(file))
    (tmp_path / "no.db").write_bytes(b"this is not a database, and long enough to be seen as none")
    with pytest.raises(InputError, match="not a database"):
        Store(str(tmp_path / "no.db"))


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("mysql://me@here/it", "got a mysql URL"),
        ("nothing://", "as a store, got"),
        ("sqlite://", "got no file"),
        ("sqlite:///:memory:", "got no file"),
    ],
)
def test_places_that_are_no_store(where, words):
    with pytest.raises(InputError, match=words):
        parse_url(where)


def test_files_that_cannot_be(tmp_path):
    with pytest.raises(InputError, match="no folder to put it in"):
        Store(str(tmp_path / "missing" / "studies.db"))
    with pytest.raises(InputError, match="a folder at"):
        Store(str(tmp_path))
    with pytest.raises(InputError, match="no such file"):
        Store(str(tmp_path / "studies.db"), create=False)
    with pytest.raises(InputError, match="a PostgreSQL server at"):
        Store("postgresql://nobody@127.0.0.1:9/nothing")
