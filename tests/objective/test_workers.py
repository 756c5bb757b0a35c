"""Threads over models leave torch's own threads as they were."""

from __future__ import annotations

import threading

import pytest
import torch

from thalweg.objective.workers import in_threads, workers


def test_results_come_in_order_from_threads_of_one_core():
    before = torch.get_num_threads()
    meeting = threading.Barrier(3, timeout=20)

    def work(n):
        meeting.wait()  # passes only if three threads are at work at once
        return n, torch.get_num_threads()

    assert in_threads(work, range(6), 3) == [(n, 1) for n in range(6)]
    assert torch.get_num_threads() == before
    later = []
    thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert later == [before]


def test_what_fails_in_a_thread_fails_for_the_caller():
    before = torch.get_num_threads()
    with pytest.raises(ZeroDivisionError):
        in_threads(lambda n: 1 // n, [1, 0, 2], 2)
    assert torch.get_num_threads() == before


def test_one_thread_is_the_callers_own():
    names = in_threads(lambda n: threading.current_thread().name, [1, 2], 1)
    assert names == [threading.current_thread().name] * 2


def test_a_gpu_needs_no_threads():
    assert workers(torch.device("cuda")) == 1
    assert workers(torch.device("cpu")) == torch.get_num_threads()
