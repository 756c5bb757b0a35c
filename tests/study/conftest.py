"""Stores on every backend; the PostgreSQL one is a real server in a folder of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from thalweg.study import Store

BACKENDS = ("sqlite", "postgresql")


def _binaries() -> Path | None:
    """The folder of PostgreSQL's server programs: on Debian they are on no PATH."""
    found = shutil.which("initdb")
    places = [Path(found).parent] if found else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((place for place in places if (place / "pg_ctl").exists()), None)


def _unprivileged() -> dict[str, Any]:
    """Arguments that run a process as somebody else than root, which the server refuses to be."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    pytest.skip("needs a user other than root to run a PostgreSQL server as")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """URL of a PostgreSQL server, without the database."""
    binaries = _binaries()
    if binaries is None:
        pytest.skip("needs PostgreSQL's server programs: install Debian's postgresql")
    as_user, port = _unprivileged(), _free_port()
    folder = Path(tempfile.mkdtemp(prefix="thalweg-postgresql-"))
    if as_user:
        os.chown(folder, as_user["user"], as_user["group"])
    data = folder / "data"

    def run(*command: object) -> None:
        done = subprocess.run(
            [str(part) for part in command], capture_output=True, text=True, cwd=folder,
            env={**os.environ, "HOME": str(folder), "LC_ALL": "C"}, check=False, **as_user,
        )  # fmt: skip
        if done.returncode:
            log = folder / "log"
            raise RuntimeError(
                f"{command}: {done.stderr} {log.read_text() if log.exists() else ''}"
            )

    try:
        run(binaries / "initdb", "-D", data, "-U", "study", "-A", "trust", "-N", "-E", "UTF8")
        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        run(binaries / "pg_ctl", "-D", data, "-o", options, "-l", folder / "log", "-w", "start")
        try:
            yield f"postgresql://study@127.0.0.1:{port}"
        finally:
            run(binaries / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


NewStore = Callable[..., Store]


@pytest.fixture(params=BACKENDS)
def where(request, tmp_path) -> str:
    """A place for a store that does not exist yet, or is empty."""
    if request.param == "sqlite":
        return str(tmp_path / "studies.db")
    import psycopg

    url = request.getfixturevalue("server")
    name = f"test_{abs(hash(str(tmp_path)))}"
    with psycopg.connect(f"{url}/postgres", autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name}".encode())
        connection.execute(f"CREATE DATABASE {name}".encode())
    return f"{url}/{name}"


@pytest.fixture
def open_store(where, tmp_path) -> Iterator[NewStore]:
    """Opens the same store, as another process would."""
    opened: list[Store] = []

    def open_it(**options: Any) -> Store:
        opened.append(Store(where, tmp_path / "files", **options))
        return opened[-1]

    yield open_it
    for store in opened:
        store.close()
