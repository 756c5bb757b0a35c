"""Studies, run: in one process and in several, killed and resumed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import thalweg
from tests.study.toy import problem
from thalweg.errors import InputError
from thalweg.study import Row, Store, Study, load_study, run_study
from thalweg.study.claims import ATTEMPTS
from thalweg.study.execute import connect_cells
from thalweg.study.worker import worker_name

TOY = Path(__file__).with_name("toy.py")
SPECIFICATION = f"""
pairs = 4
pool = 2
[[problems]]
label = "toy"
problem = "{TOY}:problem"
initialize = "{TOY}:drawn"
thresholds = [0.3, 0.2]
"""


@pytest.fixture
def toy(tmp_path) -> Callable[..., Study]:
    """Writes a study of the toy problem, with some text replaced, and loads it."""

    def make(**replaced: str) -> Study:
        text = SPECIFICATION
        for old, new in replaced.items():
            assert old in text
            text = text.replace(old, new)
        (tmp_path / "toy.toml").write_text(text)
        return load_study(str(tmp_path / "toy.toml"))

    return make


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(str(tmp_path / "studies.db"))


def command(folder: Path, *options: object, store: str = "studies.db") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "thalweg", "study", "run", "toy.toml", "--store", store, "--json",
         *map(str, options)],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def result(process: subprocess.Popen[str]) -> dict[str, object]:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return json.loads(out)


def measured(rows: list[Row]) -> list[tuple[object, ...]]:
    """All of a row but its time."""
    return [tuple(v for name, v in vars(row).items() if name != "seconds") for row in rows]


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.02)


# ---------------------------------------------------------------------------- one process


def test_all_cells_are_computed_and_proved_and_their_paths_kept(toy, store):
    told = []
    study = toy()
    tally = run_study(study, store, threads=1, report=told.append)
    assert (tally.done, tally.failed, tally.open, tally.running) == (8, 0, 0, 0)
    assert told[-1].tally == tally
    assert told[-1].seconds_left == 0
    rows = store.rows("toy")
    assert [(r.threshold, r.seed_a, r.seed_b) for r in rows] == [
        (level, 2 * i, 2 * i + 1) for level in (0.3, 0.2) for i in range(4)
    ]
    objective = problem()
    for row, record in zip(rows, store.records("toy"), strict=True):
        assert (row.outcome, row.certificate) == ("connected", "proved"), record["message"]
        assert row.max_criterion_bound is not None
        assert row.max_criterion_bound <= row.threshold
        connection = thalweg.load_connection(store.path_folder(record["id"]))
        assert thalweg.verify(connection, objective, points=5).passed
        assert connection.beads == row.beads
        assert connection.normalized_length == pytest.approx(row.normalized_length)
        end = store.network(record["network_a"])
        assert end is not None
        torch.testing.assert_close(connection.path.points[0], end)


def test_a_study_runs_on_every_backend(toy, open_store):
    study = toy(**{"[0.3, 0.2]": "[0.3]", "pairs = 4": "pairs = 2"})
    assert run_study(study, open_store(), threads=1).done == 2
    assert all(row.connected for row in open_store().rows("toy"))


def test_what_is_done_is_not_done_again(toy, store, monkeypatch):
    study = toy()
    run_study(study, store, threads=1)
    before = store.records("toy")

    def never(*args: object) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr("thalweg.study.loop.train_networks", never)
    monkeypatch.setattr("thalweg.study.loop.connect_cells", never)
    assert run_study(study, store, threads=1).done == 8
    assert store.records("toy") == before


def test_an_error_is_named_and_the_study_goes_on(toy, store, monkeypatch):
    calls = []

    def broken(setting, pairs, *rest):
        calls.append(setting.level)
        if setting.level == 0.3:
            raise MemoryError("of the test")
        return connect_cells(setting, pairs, *rest)

    monkeypatch.setattr("thalweg.study.loop.connect_cells", broken)
    tally = run_study(toy(), store, threads=1)
    assert (tally.done, tally.failed) == (4, 4)
    assert calls.count(0.3) == 2 * ATTEMPTS
    failed = [record for record in store.records("toy") if record["outcome"] == "failed"]
    assert {record["threshold"] for record in failed} == {0.3}
    assert all("MemoryError: of the test" in record["message"] for record in failed)


def test_ctrl_c_gives_the_batch_back(toy, store, monkeypatch):
    def interrupted(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("thalweg.study.loop.connect_cells", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_study(toy(), store, threads=1)
    assert store.tally("toy").running == 0
    claimed = store.claim("toy", "me")
    assert claimed is not None
    assert claimed.attempt == 1


def test_a_network_that_cannot_be_trained_is_an_outcome_of_its_pair_alone(toy, store):
    study = toy(drawn="stubborn").model_copy(update={"pool": 1})
    limits = study.limits.model_copy(update={"steps": 2_000, "patience": 200})
    tally = run_study(study.model_copy(update={"limits": limits}), store, threads=1)
    assert (tally.done, tally.failed) == (8, 0)
    outcomes = {(row.seed_a, row.outcome) for row in store.rows("toy")}
    assert outcomes == {
        (0, "connected"), (2, "endpoint not trained"), (4, "connected"), (6, "connected")
    }  # fmt: skip


def test_checkpoints_instead_of_training(toy, store, tmp_path):
    objective = problem()
    start = torch.randn(3, objective.layout.size, generator=torch.Generator().manual_seed(0))
    trained = thalweg.train(objective, list(start), 0.15)
    for i, model in enumerate(trained):
        thalweg.save_checkpoint(tmp_path / f"{i}.safetensors", objective.state_dict(model.theta))
    bad = objective.state_dict(start[0])
    thalweg.save_checkpoint(tmp_path / "bad.safetensors", bad)
    names = ["0.safetensors", "1.safetensors", "2.safetensors", "bad.safetensors"]
    study = toy(**{
        f'initialize = "{TOY}:drawn"': f"checkpoints = {names}",
        "pairs = 4": "", "[0.3, 0.2]": "[0.2]",
    })  # fmt: skip
    tally = run_study(study, store, threads=1)
    assert tally.done == 6
    rows = store.rows("toy")
    assert [(row.seed_a, row.seed_b) for row in rows] == [
        (0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)
    ]  # fmt: skip
    for row in rows:
        assert row.outcome == ("endpoint above threshold" if row.seed_b == 3 else "connected")
    thalweg.save_checkpoint(tmp_path / "0.safetensors", objective.state_dict(trained[1].theta))
    with pytest.raises(InputError, match="with the settings that the store has it with"):
        run_study(study, store, threads=1)


def test_broken_off_in_the_middle_and_resumed_the_numbers_are_those_of_a_run_in_one_go(
    toy, store, tmp_path, monkeypatch
):
    """As after kill -9: the batch stays in the hands of a worker that is no more."""
    study, whole = toy(), Store(str(tmp_path / "whole.db"))
    run_study(study, whole, threads=1)
    host, pid, _, token = worker_name().split("/")
    calls = []

    def cut(*args):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return connect_cells(*args)

    with monkeypatch.context() as patch:
        patch.setattr("thalweg.study.loop.connect_cells", cut)
        patch.setattr("thalweg.study.loop.worker_name", lambda: f"{host}/{pid}/ago/{token}")
        patch.setattr(Store, "give_back", lambda self, claim: None)
        with pytest.raises(KeyboardInterrupt):
            run_study(study, store, threads=1)
    tally = store.tally("toy")
    assert (tally.done, tally.running) == (2, 2)
    before = {r["id"]: r for r in store.records("toy") if r["outcome"] is not None}
    assert run_study(study, store, threads=1).done == 8
    assert measured(store.rows("toy")) == measured(whole.rows("toy"))
    after = {r["id"]: r for r in store.records("toy")}
    assert all(after[number] == record for number, record in before.items())


# ------------------------------------------------------------------------ several processes


@pytest.mark.slow
def test_killed_at_some_instant_and_resumed_the_numbers_are_those_of_a_run_in_one_go(
    toy, store, tmp_path
):
    study = toy(**{"pool = 2": "pool = 1"})
    assert result(command(tmp_path, store="whole.db"))["done"] == 8
    whole = Store(str(tmp_path / "whole.db"))
    for cells in (1, 3):
        process = command(tmp_path)
        wait_for(lambda cells=cells: bool(store.studies()) and store.tally("toy").done >= cells)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert store.tally("toy").done < 8, "it was killed midway"
    done_before = [r for r in store.records("toy") if r["outcome"] is not None]
    assert result(command(tmp_path))["done"] == 8
    assert measured(store.rows("toy")) == measured(whole.rows("toy"))
    after = {record["id"]: record for record in store.records("toy")}
    assert all(after[record["id"]] == record for record in done_before), "not computed again"
    assert study.pool == 1


@pytest.mark.slow
def test_two_processes_on_one_store_share_the_cells_out(toy, store, tmp_path):
    toy(**{"pool = 2": "pool = 1"})
    both = [command(tmp_path), command(tmp_path)]
    assert [result(process)["done"] for process in both] == [8, 8]
    assert all(row.connected for row in store.rows("toy"))
    assert attempts(store) == {1}


def attempts(store: Store) -> set[int]:
    """How often batches were begun."""
    from sqlalchemy import select

    from thalweg.study.database import reading
    from thalweg.study.schema import batches

    with reading(store.engine) as database:
        return set(database.execute(select(batches.c.attempts)).scalars())


@pytest.mark.slow
def test_a_worker_that_kills_itself_is_replaced_and_its_batch_named(toy, store, tmp_path):
    toy(drawn="deadly", **{"pool = 2": "pool = 1", "[0.3, 0.2]": "[0.3]"})
    document = result(command(tmp_path, "--workers", 1))
    assert (document["done"], document["failed"]) == (4, 0)
    records = store.records("toy")
    assert [r["outcome"] for r in records] == [
        "connected", "endpoint not trained", "connected", "connected"
    ]  # fmt: skip
    assert attempts(store) == {1, ATTEMPTS}


@pytest.mark.slow
def test_workers_end_with_whoever_started_them(toy, store, tmp_path):
    toy(**{"thresholds = [0.3, 0.2]": "thresholds = [0.05]", "pairs = 4": "pairs = 200"})
    process = command(tmp_path, "--workers", 1)
    wait_for(lambda: bool(store.studies()) and store.tally("toy").running > 0)
    children = {child for child in map(int, _children(process.pid)) if _lives(child)}
    assert children
    process.kill()
    process.communicate()
    wait_for(lambda: not any(map(_lives, children)))


def _children(parent: int) -> list[str]:
    return [
        entry.name for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and _stat(int(entry.name))[1:2] == [str(parent)]
    ]  # fmt: skip


def _stat(pid: int) -> list[str]:
    """State, parent and more of a process; nothing of one that is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _lives(pid: int) -> bool:
    return _stat(pid)[:1] not in ([], ["Z"], ["X"])
