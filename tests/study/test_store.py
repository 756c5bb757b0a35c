"""What every backend of the store must do: the contract in :mod:`thalweg.study.store`."""

from __future__ import annotations

import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from thalweg.errors import InputError
from thalweg.study import Store, load_study
from thalweg.study.claims import ATTEMPTS, Claim
from thalweg.study.plan import Training, plan
from thalweg.study.results import Cell, Network
from thalweg.study.spec import Search
from thalweg.study.worker import _started, is_dead, worker_name

STUDY = load_study("figure1-quadratic").varied(pairs=2, thresholds=[0.1, 0.05])
NAME = STUDY.name
GOOD = Cell("connected", "so it is", "proved", 1.25, 3, 0.09, 10**12, 20, 0.5, {"versions": {}})


def registered(store: Store, study=STUDY) -> Store:
    store.register(study, plan(study))
    return store


def claim(store: Store, worker: str) -> Claim:
    claimed = store.claim(NAME, worker)
    assert claimed is not None
    return claimed


def train(store: Store, claimed: Claim) -> bool:
    assert isinstance(claimed.setting, Training)
    return store.finish_training(
        claimed,
        {key: Network(torch.full((24,), float(seed)), "", 0.09, 7, 8, 9, 0.1)
         for key, seed in claimed.seeds.items()},
    )  # fmt: skip


def settle(store: Store, claimed: Claim) -> bool:
    """End a batch, whatever it is."""
    if isinstance(claimed.setting, Training):
        return train(store, claimed)
    return store.finish_cells(claimed, dict.fromkeys(claimed.pairs, GOOD))


def finish_all(store: Store) -> None:
    while (claimed := store.claim(NAME, "me")) is not None:
        assert settle(store, claimed)


# ------------------------------------------------------------------------------- claiming


def test_every_batch_is_claimed_once_and_cells_after_their_networks(open_store):
    store = registered(open_store())
    first, second = claim(store, "one"), claim(store, "two")
    assert isinstance(first.setting, Training)
    assert isinstance(second.setting, Training)
    assert list(first.seeds.values()) == [0, 1, 2, 3]
    assert store.claim(NAME, "three") is None, "the cells wait for their networks"
    assert train(store, first)
    third = claim(store, "three")
    assert set(sum(third.pairs.values(), ())) == set(first.seeds)
    assert store.claim(NAME, "four") is None
    assert len({first.batch, second.batch, third.batch}) == 3


def test_results_are_kept_and_in_the_order_of_the_grid(open_store):
    store = registered(open_store())
    finish_all(store)
    rows = open_store().rows(NAME)
    assert [(row.threshold, row.seed_a, row.seed_b) for row in rows] == [
        (0.1, 0, 1), (0.1, 2, 3), (0.05, 0, 1), (0.05, 2, 3)
    ]  # fmt: skip
    for row in rows:
        assert (row.task, row.protocol, row.method) == ("quadratic", "strict", "greedy")
        for name in ("outcome", "certificate", "normalized_length", "beads", "gradient_samples",
                     "max_criterion_bound", "criterion_samples", "seconds"):  # fmt: skip
            assert getattr(row, name) == getattr(GOOD, name)
    tally = store.tally(NAME)
    assert (tally.done, tally.total, tally.batches_left) == (4, 4, 0)
    key = next(iter(plan(STUDY)[0].networks))
    network = store.network(key.key)
    assert network is not None
    torch.testing.assert_close(network, torch.full((24,), float(key.seed)))


def test_what_is_open_or_running_is_in_the_table_too(open_store):
    store = registered(open_store())
    train(store, claim(store, "me"))
    claim(store, "me")  # trains for .05
    claim(store, "me")
    assert [row.outcome for row in store.rows(NAME)] == ["running"] * 2 + ["open"] * 2
    tally = store.tally(NAME)
    assert (tally.done, tally.running, tally.open) == (0, 4, 0), "networks in training count"


def test_those_who_claim_at_once_never_get_the_same(open_store):
    study = STUDY.varied(pairs=60, thresholds=[0.1]).model_copy(update={"name": "many", "pool": 1})
    registered(open_store(), study)
    stores = [open_store() for _ in range(4)]  # as many connections
    barrier = threading.Barrier(len(stores))

    def claim_all(store: Store) -> list[int]:
        barrier.wait()
        me, got = worker_name(), []
        while (claimed := store.claim("many", me)) is not None:
            got.append(claimed.batch)
        return got

    with ThreadPoolExecutor(len(stores)) as pool:
        claimed = [batch for batches in pool.map(claim_all, stores) for batch in batches]
    assert len(claimed) == len(set(claimed)) == 120


# --------------------------------------------------------------------------------- crashes


def name_of(pid: int) -> str:
    """The name that a worker of another process on this host would have."""
    host, _, _, token = worker_name().split("/")
    return f"{host}/{pid}/{_started(pid)}/{token}"


def dead_worker() -> str:
    """The name of a process that runs no more."""
    with subprocess.Popen(["sleep", "60"]) as process:
        name = name_of(process.pid)
        assert not is_dead(name)
        process.kill()
    return name


def test_a_process_that_is_gone_is_seen_to_be_and_a_living_one_is_not():
    assert is_dead(dead_worker())
    assert not is_dead(worker_name())
    host, pid, started, token = worker_name().split("/")
    assert is_dead(f"{host}/{pid}/another.{started}/{token}"), "its number belongs to another now"
    assert not is_dead(f"elsewhere:1/{pid}/x.1/{token}"), "nothing is known of other hosts"
    assert not is_dead("of another kind")
    assert worker_name() != worker_name()


def test_the_batch_of_a_killed_process_is_free_at_once(open_store):
    store = registered(open_store())
    first = claim(store, dead_worker())
    again = claim(store, "next")
    assert again.batch == first.batch
    assert again.attempt == 2


def test_a_lease_that_is_not_renewed_runs_out_and_its_results_are_thrown_away(open_store):
    store = registered(open_store())
    late = open_store(lease=-1.0)  # run out as soon as it is had
    lost = claim(late, "slow")
    taken = claim(store, "quick")
    assert taken.batch == lost.batch
    assert not train(late, lost)
    assert store.network(next(iter(lost.seeds))) is None
    assert train(store, taken)
    files = {file: file.read_bytes() for file in (store.files or Path()).rglob("*.safetensors")}
    assert len(files) == 4
    other = dict.fromkeys(lost.seeds, Network(torch.zeros(24), "", 0.0))
    assert not late.finish_training(lost, other)
    assert not store.finish_training(taken, other), "what is done is not done again"
    left = {
        file: file.read_bytes() for file in (store.files or Path()).rglob("*") if file.is_file()
    }
    assert left == files


def test_a_renewed_lease_holds(open_store):
    late, store = registered(open_store(lease=-1.0)), open_store()
    held = claim(late, "slow")
    store.renew("slow")
    assert claim(store, "quick").batch != held.batch
    assert train(store, held)


def test_results_of_cells_whose_lease_was_lost_are_thrown_away(open_store):
    store = registered(open_store())
    train(store, claim(store, "me"))
    late = open_store(lease=-1.0)
    lost = claim(late, "slow")
    taken = claim(store, "quick")
    assert set(taken.pairs) == set(lost.pairs)
    assert settle(store, taken)
    before = store.records(NAME)
    bad = Cell("bead stalled", "no")
    assert not store.finish_cells(lost, dict.fromkeys(lost.pairs, bad))
    assert not store.finish_cells(taken, dict.fromkeys(taken.pairs, bad))
    assert store.records(NAME) == before


def test_a_batch_is_tried_a_few_times_and_then_failed_by_name(open_store):
    store = registered(open_store())
    train(store, claim(store, "me"))
    for _ in range(ATTEMPTS):
        assert [row.outcome for row in store.rows(NAME)[:2]] == ["open"] * 2
        store.break_off(claim(store, "me"), "ValueError: no")
    records = store.records(NAME)
    assert [record["outcome"] for record in records] == ["failed"] * 2 + [None] * 2
    assert records[0]["message"] == f"ValueError: no (attempt {ATTEMPTS} of {ATTEMPTS})"
    finish_all(store)
    tally = store.tally(NAME)
    assert (tally.done, tally.failed, tally.batches_left) == (2, 2, 0)


def test_networks_that_could_not_be_trained_do_not_hold_up_their_cells(open_store):
    store = registered(open_store())
    first = claim(store, "me")
    store.break_off(first, "killed", final=True)
    cells = claim(store, "me")
    assert all(store.network(key) is None for pair in cells.pairs.values() for key in pair)


def test_giving_a_batch_back_is_no_attempt(open_store):
    store = registered(open_store())
    first = claim(store, "me")
    for _ in range(ATTEMPTS + 2):
        store.give_back(first)
        claimed = claim(store, "me")
        assert (claimed.batch, claimed.attempt) == (first.batch, 1)
    store.give_back(first)
    store.give_back(first)  # not owned any more: nothing happens
    assert claim(store, "me").attempt == 1


# ---------------------------------------------------------------------------- registration


def test_registering_again_changes_nothing_and_more_pairs_are_added(open_store):
    store = registered(open_store())
    finish_all(store)
    before = store.records(NAME)
    assert registered(store).records(NAME) == before
    assert store.claim(NAME, "me") is None
    registered(store, STUDY.varied(pairs=3))
    rows = store.rows(NAME)
    assert [row.outcome for row in rows] == ["connected"] * 4 + ["open"] * 2
    assert list(claim(store, "me").seeds.values()) == [4, 5]


def test_other_settings_under_the_same_name_are_refused(open_store):
    store = registered(open_store())
    before = store.records(NAME)
    limits = STUDY.limits.model_copy(update={"steps": 7})
    for other in (
        STUDY.model_copy(update={"limits": limits}),
        STUDY.model_copy(update={"pool": 1}),
        STUDY.model_copy(update={"certificate": "sampled"}),
    ):
        with pytest.raises(InputError, match="with the settings that the store has it with"):
            registered(store, other)
    assert store.records(NAME) == before
    registered(store, STUDY.model_copy(update={"limits": limits, "name": "another"}))
    assert set(store.studies()) == {NAME, "another"}


def test_networks_that_two_methods_or_studies_connect_are_trained_once(open_store):
    methods = Search(), Search(options={"start": "segment"})
    study = STUDY.model_copy(update={"methods": methods})
    store = registered(open_store(), study)
    twin = study.model_copy(update={"name": "twin"})
    registered(store, twin)
    trained = set()
    for name in (NAME, "twin"):
        while (claimed := store.claim(name, "me")) is not None:
            assert not trained & set(claimed.seeds)
            trained |= set(claimed.seeds)
            assert settle(store, claimed)
    assert len(trained) == 8
    assert all(row.connected for name in (NAME, "twin") for row in store.rows(name))


def test_a_study_may_train_networks_that_another_one_has_registered(open_store):
    store = registered(open_store())
    registered(store, STUDY.model_copy(update={"name": "twin"}))
    claimed = store.claim("twin", "me")
    assert claimed is not None
    assert len(claimed.seeds) == 4


def test_an_unknown_study_is_refused_with_those_that_there_are(open_store):
    store = registered(open_store())
    for ask in (store.rows, store.tally, store.specification):
        with pytest.raises(InputError, match=r"figure1-quadratic.*'nothing'"):
            ask("nothing")


def test_a_store_opened_by_many_at_once_is_made_once(open_store):
    barrier = threading.Barrier(4)

    def make(_: int) -> None:
        barrier.wait()
        open_store()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(make, range(4)))
    registered(open_store())
