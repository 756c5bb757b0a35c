"""A study on a local Dask cluster whose scheduler and workers are processes, started by hand."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.study.test_run import attempts, measured, toy, wait_for
from thalweg.errors import InputError
from thalweg.study import Store, run_study

__all__ = ["toy"]  # a fixture

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
DASK = (sys.executable, "-m", "dask")
Process = subprocess.Popen[str]


@pytest.fixture
def cluster(tmp_path) -> Iterator[tuple[str, Callable[[], Process]]]:
    """Address of a scheduler, and how to start one more worker."""
    pytest.importorskip("distributed", reason="needs the extra distributed")
    with ExitStack() as stack:
        log = stack.enter_context((tmp_path / "dask.log").open("w"))

        def start(*command: object) -> Process:
            process = subprocess.Popen(
                [*DASK, *map(str, command)], cwd=tmp_path, text=True, env=ENVIRONMENT,
                stdout=subprocess.DEVNULL, stderr=log,
            )  # fmt: skip
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        address = f"tcp://127.0.0.1:{port}"
        file = tmp_path / "scheduler.json"
        start("scheduler", "--host", "127.0.0.1", "--port", port, "--scheduler-file", file,
              "--no-dashboard")  # fmt: skip
        wait_for(file.exists)

        def worker() -> Process:
            # Without a nanny, which would start a killed worker again.
            return start("worker", address, "--nthreads", 1, "--no-nanny", "--no-dashboard")

        yield address, worker


def command(folder: Path, address: str) -> Process:
    return subprocess.Popen(
        [sys.executable, "-m", "thalweg", "study", "run", "toy.toml", "--store", "studies.db",
         "--scheduler", address, "--threads", "1", "--json"],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT,
    )  # fmt: skip


@pytest.mark.slow
def test_a_worker_and_the_coordinator_are_killed_and_no_cell_is_lost_or_doubled(
    cluster, toy, tmp_path
):
    address, start_worker = cluster
    study = toy(**{"pool = 2": "pool = 1", "pairs = 4": "pairs = 8"})
    store = Store(str(tmp_path / "studies.db"))
    workers = [start_worker(), start_worker()]

    def done(cells: int) -> Callable[[], bool]:
        return lambda: bool(store.studies()) and store.tally("toy").done >= cells

    first = command(tmp_path, address)
    wait_for(done(1))
    workers[0].send_signal(signal.SIGKILL)
    wait_for(done(4))
    assert store.tally("toy").done < 16
    first.send_signal(signal.SIGKILL)
    first.communicate()
    before = {r["id"]: r for r in store.records("toy") if r["outcome"] is not None}
    assert len(before) < 16, "it was killed midway"
    second = command(tmp_path, address)
    out, err = second.communicate(timeout=200)
    assert second.returncode == 0, err
    document = json.loads(out)
    assert (document["done"], document["failed"], document["total"]) == (16, 0, 16)
    after = {r["id"]: r for r in store.records("toy")}
    assert all(after[number] == record for number, record in before.items()), "not done again"
    assert max(attempts(store)) <= 2
    here = Store(str(tmp_path / "here.db"))
    run_study(study, here, threads=1)
    assert measured(store.rows("toy")) == measured(here.rows("toy"))


@pytest.mark.slow
def test_a_batch_that_kills_its_workers_is_failed_by_name(cluster, toy, tmp_path):
    address, start_worker = cluster
    toy(drawn="deadly", **{"pool = 2": "pool = 1", "[0.3, 0.2]": "[0.3]"})
    for _ in range(6):  # four are killed
        start_worker()
    process = command(tmp_path, address)
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    assert json.loads(out)["done"] == 4
    outcomes = [row.outcome for row in Store(str(tmp_path / "studies.db")).rows("toy")]
    assert outcomes == ["connected", "endpoint not trained", "connected", "connected"]


def test_no_scheduler_at_the_address(toy, tmp_path, monkeypatch):
    pytest.importorskip("distributed", reason="needs the extra distributed")
    monkeypatch.setattr("thalweg.study.cluster._PATIENCE", 1)
    store = Store(str(tmp_path / "studies.db"))
    with pytest.raises(InputError, match="a Dask scheduler at tcp://127"):
        run_study(toy(), store, scheduler="tcp://127.0.0.1:9")
    with pytest.raises(InputError, match="one of --workers and --scheduler"):
        run_study(toy(), store, scheduler="tcp://127.0.0.1:9", workers=2)
