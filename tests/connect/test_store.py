"""Models beyond the limit of memory lie on disk, and read the same."""

from __future__ import annotations

import errno
import gc
import os
import tempfile
import warnings

import pytest
import torch

from thalweg import InputError
from thalweg.connect.store import Store


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_models_read_the_same_in_memory_and_on_disk(dtype):
    store = Store(5, dtype, memory=3 * 5 * dtype.itemsize)
    models = torch.randn(20, 5, generator=torch.Generator().manual_seed(0), dtype=dtype)
    assert [store.add(theta) for theta in models] == list(range(20))
    assert (len(store), store.parked, store.held) == (20, 17, 3 * 5 * dtype.itemsize)
    assert all(torch.equal(store[i], theta) for i, theta in enumerate(models))
    for strings in ([[2, 0]], [[19, 3, 0, 7]], [[0, 1], [2, 5, 9], list(range(20))]):
        stacks = store.stacks(strings)
        assert len(stacks) == len(strings)
        for stack, numbers in zip(stacks, strings, strict=True):
            assert torch.equal(stack, models[numbers])


def test_the_store_keeps_copies():
    store = Store(2, torch.float32, memory=8)
    theta = torch.ones(2)
    for _ in range(3):
        store.add(theta)
    theta.zero_()
    assert all(store[i].tolist() == [1, 1] for i in range(3))


def test_nothing_is_left_on_disk_and_nobody_is_warned(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        store = Store(4, torch.float32, memory=16)
        for i in range(9):
            store.add(torch.full((4,), float(i)))
        assert not list(tmp_path.iterdir()), "a name would outlive a process that is killed"
        (string,) = store.stacks([list(range(9))])
        del store
        gc.collect()
    assert not [str(w.message) for w in caught]
    assert not list(tmp_path.iterdir())
    assert string[:, 0].tolist() == list(range(9))


def test_a_full_disk_is_a_sentence(monkeypatch):
    def full(*arguments: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    store = Store(4, torch.float32, memory=16)
    store.add(torch.zeros(4))
    store.add(torch.ones(4))
    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(InputError, match=r"No space left.*TMPDIR"):
        store.add(torch.zeros(4))
    assert store[1].tolist() == [1, 1, 1, 1]
