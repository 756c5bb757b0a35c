"""Batches of a study on the workers of a dask.distributed cluster.

The process that runs the study alone talks to the store: it claims batches, sends them with the
weights that they need, and stores what comes back. Workers need the package, and the data sets or
the problem's code where they read them; they need neither database nor shared folder.

A worker that dies takes its batch with it; the scheduler gives the batch to another one, a few
times (its setting ``distributed.scheduler.allowed-failures``), and then says that it was killed:
its cells are failed.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from thalweg.errors import InputError, ThalwegError
from thalweg.study.claims import Claim
from thalweg.study.execute import Place, Watch, connect_cells, train_networks
from thalweg.study.loop import Heartbeat, describe, load_weights
from thalweg.study.plan import Training
from thalweg.study.results import Cell, Network
from thalweg.study.store import Store
from thalweg.study.worker import worker_name
from thalweg.threads import use_threads

# Batches that wait on the scheduler for each thread of its workers, so that none is ever idle.
_AHEAD = 1
# Seconds between two looks for results, and for a scheduler to answer.
_LOOK = 1.0
_PATIENCE = 20

# Random numbers of training come from the one global generator of a process.
_alone = threading.Lock()


def work_on_cluster(
    store: Store,
    study: str,
    place: Place,
    scheduler: str,
    *,
    threads: int | None = None,
    resources: Mapping[str, float] | None = None,
    watch: Watch | None = None,
) -> None:
    """Have batches of a study done until none is left.

    Args:
        store: which has the study.
        study: its name.
        place: where to compute, as the workers see it.
        scheduler: its address, such as ``tcp://10.0.0.1:8786``.
        threads: that each batch computes with; None: OMP_NUM_THREADS of the workers says.
        resources: that a batch takes of its worker.
        watch: told now and then how far it has come.

    Raises:
        InputError: if distributed is not installed, or there is no scheduler at the address.
        ThalwegError: if the scheduler ends before the study.
    """
    try:
        from distributed import Client, wait
    except ImportError as error:
        raise InputError(
            f"expected distributed for --scheduler, got '{error}': pip install thalweg[distributed]"
        ) from error
    try:
        client: Any = Client(scheduler, timeout=_PATIENCE)
    except (OSError, ValueError, TimeoutError) as error:
        raise InputError(
            f"expected a Dask scheduler at {scheduler}, got '{describe(error)}': start one with "
            "'dask scheduler' and give the address that it prints"
        ) from error
    worker = worker_name()
    flying: dict[Any, Claim] = {}
    with client, Heartbeat(store, worker):
        try:
            while True:
                threads_there = sum(client.nthreads().values())
                room = (1 + _AHEAD) * threads_there - len(flying)
                for _ in range(max(room, 0)):
                    claim = store.claim(study, worker)
                    if claim is None:
                        break
                    flying[_submit(client, store, claim, place, threads, resources)] = claim
                if not flying and not store.tally(study).batches_left:
                    return
                for future in _wait(wait, list(flying)):
                    _settle(store, flying.pop(future), future)
                if client.status != "running":
                    raise ThalwegError(
                        f"the Dask scheduler at {scheduler} is gone: start one and run the study "
                        "again, it goes on where it stopped"
                    )
                if watch is not None:
                    watch(
                        f"{len(flying)} batches on {len(client.nthreads())} workers of the cluster"
                    )
        finally:
            for claim in flying.values():
                store.give_back(claim)


def _submit(
    client: Any,
    store: Store,
    claim: Claim,
    place: Place,
    threads: int | None,
    resources: Mapping[str, float] | None,
) -> Any:
    weights = None if isinstance(claim.setting, Training) else load_weights(store, claim)
    return client.submit(
        perform, claim, weights, place, threads, pure=False, resources=dict(resources or {}),
        key=f"{'train' if weights is None else 'connect'}-{claim.batch}-{claim.worker[-8:]}"
            f"-{claim.attempt}",
    )  # fmt: skip


def perform(
    claim: Claim, weights: Mapping[str, Any] | None, place: Place, threads: int | None
) -> dict[str, Network] | dict[int, Cell]:
    """What a worker of the cluster does.

    Args:
        claim: the batch.
        weights: of the networks to connect; None: there are networks to train.
        place: where to compute.
        threads: to compute with.
    """
    with _alone:
        if threads is not None:
            use_threads(threads)
        if isinstance(claim.setting, Training):
            return train_networks(claim.setting, claim.seeds, place)
        return connect_cells(claim.setting, claim.pairs, weights or {}, place)


def _settle(store: Store, claim: Claim, future: Any) -> None:
    """Store what came back, or count a failure."""
    if future.status in ("cancelled", "lost"):  # by the scheduler's end, no fault of the batch
        store.give_back(claim)
        return
    error = future.exception()
    if error is not None:
        # A batch whose workers were killed has been tried by the scheduler as often as it may be.
        store.break_off(claim, describe(error), final=type(error).__name__ == "KilledWorker")
    elif isinstance(claim.setting, Training):
        store.finish_training(claim, future.result())
    else:
        store.finish_cells(claim, future.result())
    future.release()


def _wait(wait: Any, futures: list[Any]) -> set[Any]:
    """The futures that have ended, after a second at most."""
    if not futures:
        threading.Event().wait(_LOOK)
        return set()
    try:
        return set(wait(futures, timeout=_LOOK, return_when="FIRST_COMPLETED").done)
    except TimeoutError:
        return set()
