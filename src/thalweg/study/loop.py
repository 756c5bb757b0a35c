"""A process at work on a store: claim a batch, do it, store what came out, until none is left."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from torch import Tensor

from thalweg.study.claims import Claim
from thalweg.study.execute import Place, Watch, connect_cells, train_networks
from thalweg.study.plan import Training
from thalweg.study.store import Store
from thalweg.study.worker import worker_name

log = logging.getLogger(__name__)

# Of the lease, between two renewals; and seconds between two looks for work that others hold.
_SHARE = 0.25
_PAUSE = 0.5


class Heartbeat:
    """Renews the leases of a worker while it computes; a context manager.

    Args:
        store: which.
        worker: whose leases.
        parent: process without which this one has no reason to go on; None: none.
    """

    def __init__(self, store: Store, worker: str, parent: int | None = None) -> None:
        self._store, self._worker, self._parent = store, worker, parent
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _beat(self) -> None:
        renewed = time.monotonic()
        while not self._ended.wait(min(1.0, _SHARE * self._store.lease)):
            if self._parent is not None and os.getppid() != self._parent:
                os._exit(1)  # whoever started this process is gone, and its leases are seen to be
            if time.monotonic() - renewed < _SHARE * self._store.lease:
                continue
            renewed = time.monotonic()
            try:
                self._store.renew(self._worker)
            except Exception as error:  # a database out of reach may be back before the lease ends
                log.warning("the lease of %s could not be renewed: %s", self._worker, error)


def work(
    store: Store,
    study: str,
    place: Place,
    *,
    watch: Watch | None = None,
    ended: Callable[[], None] | None = None,
    parent: int | None = None,
) -> None:
    """Do batches of a study in this process until none is left, here or elsewhere.

    Args:
        store: which has the study.
        study: its name.
        place: where to compute.
        watch: told now and then how far a batch has come.
        ended: called after each batch.
        parent: see :class:`Heartbeat`.
    """
    worker = worker_name()
    with Heartbeat(store, worker, parent):
        while True:
            claim = store.claim(study, worker)
            if claim is None:
                if not store.tally(study).batches_left:
                    return
                if watch is not None:
                    watch("waiting for batches that other processes compute")
                time.sleep(_PAUSE)
                continue
            _do(store, claim, place, watch)
            if ended is not None:
                ended()


def _do(store: Store, claim: Claim, place: Place, watch: Watch | None) -> None:
    try:
        if isinstance(claim.setting, Training):
            trained = train_networks(claim.setting, claim.seeds, place, watch)
            stored = store.finish_training(claim, trained)
        else:
            weights = load_weights(store, claim)
            found = connect_cells(claim.setting, claim.pairs, weights, place, watch)
            stored = store.finish_cells(claim, found)
    except Exception as error:
        # Named in the table, tried again, and no reason for the other cells not to be computed.
        store.break_off(claim, describe(error))
        return
    except BaseException:
        store.give_back(claim)
        raise
    if not stored:
        log.warning("batch %d was taken by another worker: its lease had run out", claim.batch)


def load_weights(store: Store, claim: Claim) -> dict[str, Tensor | None]:
    """Weights of all networks that a batch of cells needs."""
    keys = dict.fromkeys(key for pair in claim.pairs.values() for key in pair)
    return {key: store.network(key) for key in keys}


def describe(error: BaseException) -> str:
    """An error in one sentence."""
    reason = " ".join(str(error).split())
    return f"{type(error).__name__}: {reason}" if reason else type(error).__name__
