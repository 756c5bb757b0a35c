"""Running a study: here, in several processes, or on a cluster."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

from thalweg.errors import InputError, ThalwegError
from thalweg.parameters import fingerprint
from thalweg.study.claims import Tally
from thalweg.study.execute import Place
from thalweg.study.loop import work
from thalweg.study.plan import checkpoint_key, plan
from thalweg.study.problem import build
from thalweg.study.spec import Study
from thalweg.study.store import Store
from thalweg.threads import use_threads, worker_threads

# Seconds between two looks at processes at work.
_LOOK = 0.5


@dataclass(frozen=True)
class StudyProgress:
    """How far a study has come, as told to a callback.

    Attributes:
        tally: its cells.
        seconds: since this run began.
        seconds_left: at the rate of this run so far; None before anything is done.
        text: what is being done here, in a few words.
    """

    tally: Tally
    seconds: float
    seconds_left: float | None
    text: str


Report = Callable[[StudyProgress], None]


def run_study(
    study: Study,
    store: Store,
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    resources: Mapping[str, float] | None = None,
    data_dir: Path | None = None,
    device: str | None = None,
    threads: int | None = None,
    report: Report | None = None,
) -> Tally:
    """Compute the cells of a study that the store has no result of.

    Killed at any instant, it can be called again and goes on.

    Args:
        study: what is to be done.
        store: where results are kept; other processes may work on it, too.
        workers: so many processes instead of this one.
        scheduler: address of a dask.distributed scheduler, whose workers compute instead.
        resources: that a task takes of a Dask worker, such as ``{"GPU": 1}``.
        data_dir: folder of the data sets, on every machine that computes.
        device: where to compute; None: the CPU.
        threads: of each process that computes; None: see :mod:`thalweg.threads`.
        report: told of progress.

    Returns:
        How many cells are done, and failed.

    Raises:
        InputError: if the study, the store or the place makes no sense.

    Example:
        >>> import tempfile
        >>> from thalweg.study import Store, load_study, run_study
        >>> study = load_study("figure1-quadratic").varied(pairs=1, thresholds=[0.125])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     tally = run_study(study, Store(f"{folder}/studies.db"))
        >>> tally.done, tally.failed
        (1, 0)
    """
    if workers is not None and scheduler is not None:
        raise InputError("expected one of --workers and --scheduler, got both: choose one")
    place = Place(data_dir, device)
    prepare(study, store, place)
    clock = _Clock(store, study.name, report)
    if scheduler is not None:
        # Imported here: distributed is an extra, and slow to import.
        from thalweg.study.cluster import work_on_cluster

        work_on_cluster(
            store, study.name, place, scheduler, threads=threads, resources=resources,
            watch=clock.tell,
        )  # fmt: skip
    elif workers is not None:
        _work_in_processes(store, study.name, place, workers, threads, clock)
    else:
        if threads is not None:
            use_threads(threads)
        work(store, study.name, place, watch=clock.tell, ended=clock.tell)
    clock.tell("", at_once=True)
    return store.tally(study.name)


def prepare(study: Study, store: Store, place: Place) -> None:
    """Register a study, after a look at everything that can be wrong with it.

    Args:
        study: what is to be done.
        store: where.
        place: where it will be computed.

    Raises:
        InputError: if a problem, its data or a checkpoint is not there, or does not fit.
    """
    given: dict[str, str] = {}
    for problem in study.problems:
        objective = build(problem, place.data_dir, place.device).objective
        for file in problem.checkpoints:
            theta = objective.theta(file, file)
            given[file] = checkpoint_key(fingerprint(theta))
            store.give_network(given[file], theta)
    store.register(study, plan(study, place.data_dir, given))


class _Clock:
    """Tells a callback how far a study has come, now and then."""

    def __init__(self, store: Store, study: str, report: Report | None) -> None:
        self._store, self._study, self._report = store, study, report
        self._begin = time.monotonic()
        self._told = 0.0
        self._before = store.tally(study)

    def tell(self, text: str = "", *, at_once: bool = False) -> None:
        seconds = time.monotonic() - self._begin
        if self._report is None or (seconds - self._told < 1 and not at_once):
            return
        self._told = seconds
        tally = self._store.tally(self._study)
        fresh = tally.done + tally.failed - self._before.done - self._before.failed
        rate = fresh / seconds if fresh else None
        left = None if rate is None else (tally.open + tally.running) / rate
        self._report(StudyProgress(tally, seconds, left, text))


def _work_in_processes(
    store: Store, study: str, place: Place, workers: int, threads: int | None, clock: _Clock
) -> None:
    """Start processes and replace those that die; each is a worker of its own on the store.

    Raises:
        InputError: if `workers` is not positive.
        ThalwegError: if they die before they do anything.
    """
    if workers < 1:
        raise InputError(f"expected at least one worker, got {workers}")
    each = threads or worker_threads(workers)
    context = multiprocessing.get_context("spawn")

    def start() -> BaseProcess:
        process = context.Process(
            target=_serve,
            args=(store.where, store.files, store.lease, study, place, each, os.getpid()),
        )
        process.start()
        return process

    running = [start() for _ in range(workers)]
    deaths, left = 0, store.tally(study).batches_left
    try:
        while running:
            time.sleep(_LOOK)
            clock.tell(f"{len(running)} processes")
            dead = [process for process in running if process.exitcode not in (None, 0)]
            running = [process for process in running if process.exitcode is None]
            now_left = store.tally(study).batches_left
            if now_left < left:
                deaths, left = 0, now_left
            # Whatever a batch does to its process, after its last attempt it is counted as ended.
            deaths += len(dead)
            if deaths > 5 * workers + 5:
                raise ThalwegError(
                    f"the last {deaths} processes ended with exit status {dead[-1].exitcode} and "
                    "did nothing: look for the reason in what they printed"
                )
            if now_left:
                running += [start() for _ in dead]
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.join()


def _serve(
    where: str,
    files: Path | None,
    lease: float,
    study: str,
    place: Place,
    threads: int,
    parent: int,
) -> None:
    """What a started process does."""
    use_threads(threads)
    store = Store(where, files, create=False, lease=lease)
    work(store, study, place, parent=parent)
