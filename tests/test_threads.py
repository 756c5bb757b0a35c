"""Processes side by side share the cores out; what the user has set goes before."""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor

import pytest
import torch

from thalweg import InputError, threads
from thalweg.threads import available_cores, use_threads, worker_threads


@pytest.fixture(autouse=True)
def _as_before(monkeypatch):
    """Settings of this process are put back."""
    before = torch.get_num_threads()
    for variable in (threads.VARIABLE, "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(variable, "")
        monkeypatch.delenv(variable)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("cores", [1, 2, 5, 64])
@pytest.mark.parametrize("workers", [1, 2, 3, 64, 1000])
def test_workers_together_never_have_more_threads_than_cores_unless_each_has_one(
    cores, workers, monkeypatch
):
    monkeypatch.setattr(threads, "available_cores", lambda: cores)
    share = worker_threads(workers)
    assert share >= 1
    assert share == 1 or share * workers <= cores
    assert (share + 1) * workers > cores, "no core is left idle that could be shared out"


def test_what_the_user_has_set_goes_before(monkeypatch):
    monkeypatch.setenv(threads.VARIABLE, "3")
    assert worker_threads(1) == worker_threads(50) == 3
    monkeypatch.setenv(threads.VARIABLE, "4,2")
    assert worker_threads(1) == 4


@pytest.mark.parametrize("value", ["0", "-1", "many", "1.5"])
def test_a_setting_that_is_no_number_is_a_sentence(value, monkeypatch):
    monkeypatch.setenv(threads.VARIABLE, value)
    with pytest.raises(InputError, match=f"OMP_NUM_THREADS, got '{value}'"):
        worker_threads(2)


def test_fewer_than_one_are_refused():
    with pytest.raises(InputError, match="at least one worker"):
        worker_threads(0)
    with pytest.raises(InputError, match="at least one thread"):
        use_threads(0)


def test_cores_are_those_that_the_process_may_use():
    assert 1 <= available_cores() <= (os.cpu_count() or 1)


def test_worker_processes_compute_with_the_threads_they_are_given():
    with ProcessPoolExecutor(
        2,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=use_threads,
        initargs=(3,),
    ) as pool:
        futures = [pool.submit(torch.get_num_threads) for _ in range(4)]
        variables = pool.submit(os.getenv, threads.VARIABLE)
        assert [future.result(timeout=120) for future in futures] == [3] * 4
        assert variables.result(timeout=120) == "3"
