"""Stacks in files: they read like others, and give their memory back when told to."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
import torch

from thalweg.parameters import RowFile, each_row, release


def resident() -> int:
    """Bytes of mapped files that are in the memory of this process."""
    status = Path("/proc/self/status")
    if not status.is_file():
        pytest.skip("needs /proc to see what is resident")
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return 1024 * (int(lines["RssFile"].split()[0]) + int(lines["RssShmem"].split()[0]))


def rows(count: int, size: int) -> RowFile:
    file = RowFile(size, torch.float32)
    for i in range(count):
        assert file.append(torch.arange(size, dtype=torch.float32) + i) == i
    return file


def test_rows_and_mapping_agree_and_outlive_the_file():
    file = rows(7, 5)
    assert len(file) == 7
    expected = torch.arange(5) + torch.arange(7)[:, None].float()
    assert torch.equal(torch.stack([file[i] for i in range(7)]), expected)
    mapped = file.mapped()
    for number in (-1, 7):
        with pytest.raises(IndexError):
            file[number]
    del file
    gc.collect()
    assert torch.equal(mapped, expected)
    part = mapped[2:5]
    del mapped
    gc.collect()
    release(part)
    assert torch.equal(part, expected[2:5])


def test_what_is_released_stays_and_takes_no_memory():
    """64 MB are looked at; the margin is a factor of four for whatever else the process maps."""
    mapped = rows(64, 1 << 18).mapped()
    before = resident()
    assert float(mapped.sum(dtype=torch.float64)) > 0
    assert resident() - before > 1 << 25
    release(mapped[3])
    assert resident() - before < 1 << 24
    assert mapped[5, 7] == 12


def test_going_through_row_by_row_keeps_few_rows_in_memory(monkeypatch):
    monkeypatch.setattr("thalweg.parameters.rows._RESIDENT", 1 << 22)
    mapped = rows(64, 1 << 18).mapped()
    before = resident()
    largest = 0
    for i, row in enumerate(each_row(mapped)):
        assert float(row[0]) == i
        assert float(row.sum()) > 0
        largest = max(largest, resident() - before)
    assert largest < 1 << 25


def test_releasing_other_tensors_does_nothing():
    tensor = torch.ones(1 << 16)
    release(tensor)
    release(torch.empty(3, device="meta"))
    assert tensor.sum() == 1 << 16
    assert [float(row) for row in each_row(torch.arange(3.0))] == [0, 1, 2]
