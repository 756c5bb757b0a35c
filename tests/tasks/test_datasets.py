"""Data files: every way to pack them, and every way in which they can be broken."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from thalweg.errors import InputError
from thalweg.tasks.datasets import DataError, data_folder, read_idx, read_mnist

PACK = {"": lambda content: content, ".gz": gzip.compress, ".xz": lzma.compress}


def idx(array: np.ndarray) -> bytes:
    """An idx file by the letter of its description, apart from the code under test."""
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


def write_mnist(folder: Path, suffix: str = "", n: int = 5) -> tuple[np.ndarray, np.ndarray]:
    pixels = np.arange(n * 28 * 28).reshape(n, 28, 28) % 251
    labels = np.arange(n) % 10
    for kind, array in (("images-idx3", pixels), ("labels-idx1", labels)):
        (folder / f"t10k-{kind}-ubyte{suffix}").write_bytes(PACK[suffix](idx(array)))
    return pixels, labels


# ---------------------------------------------------------------- reading what is right


@pytest.mark.parametrize("suffix", PACK)
def test_mnist_reads_back_what_was_written(tmp_path, suffix):
    pixels, labels = write_mnist(tmp_path, suffix)
    images = read_mnist("test", tmp_path)
    np.testing.assert_array_equal(images.pixels, pixels)
    np.testing.assert_array_equal(images.labels, labels)


@given(npst.arrays(np.uint8, npst.array_shapes(max_dims=4, max_side=5)), st.sampled_from([*PACK]))
def test_any_idx_file_reads_back(tmp_path_factory, array, suffix):
    path = tmp_path_factory.mktemp("idx") / f"file{suffix}"
    path.write_bytes(PACK[suffix](idx(array)))
    np.testing.assert_array_equal(read_idx(path), array)


def test_a_plain_file_is_preferred_to_a_packed_one(tmp_path):
    write_mnist(tmp_path, ".gz", n=3)
    write_mnist(tmp_path, "", n=4)
    assert len(read_mnist("test", tmp_path).labels) == 4


# ---------------------------------------------------------------- finding the folder


def test_the_argument_goes_before_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("THALWEG_DATA", str(tmp_path / "absent"))
    assert data_folder(tmp_path) == tmp_path


def test_the_environment_names_the_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("THALWEG_DATA", str(tmp_path))
    assert data_folder() == tmp_path


@pytest.mark.parametrize("empty", [True, False])
def test_no_folder_named(monkeypatch, empty):
    monkeypatch.delenv("THALWEG_DATA", raising=False)
    if empty:
        monkeypatch.setenv("THALWEG_DATA", "")
    with pytest.raises(DataError, match=r"got none: name it with --data-dir or .* THALWEG_DATA"):
        data_folder()


def test_a_folder_that_is_not_there(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="where there is nothing"):
        data_folder(tmp_path / "absent")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="where there is a file"):
        data_folder(tmp_path / "file")
    monkeypatch.setenv("THALWEG_DATA", str(tmp_path / "absent"))
    with pytest.raises(DataError, match="in THALWEG_DATA, where there is nothing"):
        data_folder()


def test_a_missing_file_is_named(tmp_path):
    write_mnist(tmp_path)
    with pytest.raises(DataError, match=r"expected train-images-idx3-ubyte \(plain, .gz or .xz\)"):
        read_mnist("train", tmp_path)


# ---------------------------------------------------------------- what is broken


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "begins and ends at once"),
        (b"\0\0\x08", "begins 00 00 08"),
        (b"\x1f\x8b\x08\x00 rest", "begins 1f 8b 08 00"),  # a .gz under a plain name
        (b"\0\0\x0d\x01" + bytes(8), "begins 00 00 0d 01"),  # floats
        (b"\0\0\x08\x00", "begins 00 00 08 00"),  # no dimension
        (b"\0\0\x08\x03" + bytes(5), "a header of 16 bytes .* got a file of 9 bytes"),
        (
            idx(np.zeros((2, 3)))[:-1],
            r"expected 6 elements of shape \[2, 3\] .* got 5: .*truncated",
        ),
        (idx(np.zeros((2, 3))) + b"\0", "got 7: the file is too long"),
    ],
)
def test_a_wrong_idx_file_is_refused(tmp_path, content, complaint):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(DataError, match=complaint):
        read_idx(path)


def damaged(suffix: str) -> dict[str, bytes]:
    packed = PACK[suffix](idx(np.arange(3000).reshape(3, 1000) % 256))
    middle = len(packed) // 2
    return {
        "truncated": packed[:-9],
        "empty": packed[:3],
        "flipped": packed[:middle] + bytes([packed[middle] ^ 0xFF]) + packed[middle + 1 :],
        "something else": b"<html>not found</html>",
    }


@pytest.mark.parametrize("damage", damaged(".gz"))
@pytest.mark.parametrize("suffix", [".gz", ".xz"])
def test_a_damaged_archive_is_refused(tmp_path, suffix, damage):
    path = tmp_path / f"file{suffix}"
    path.write_bytes(damaged(suffix)[damage])
    with pytest.raises(DataError, match=f"expected a readable {suffix} file .* fetch it again"):
        read_idx(path)


@pytest.mark.parametrize(
    ("kind", "array", "complaint"),
    [
        ("images-idx3", np.zeros((5, 32, 32)), r"shape \[n, 28, 28\] .* got \[5, 32, 32\]"),
        ("images-idx3", np.zeros((0, 28, 28)), r"got \[0, 28, 28\]"),
        ("images-idx3", np.zeros(5), r"got \[5\]"),
        ("labels-idx1", np.zeros(4), r"expected 5 labels .* got shape \[4\]"),
        ("labels-idx1", np.full(5, 10), "labels from 0 to 9 .* got 10"),
    ],
)
def test_files_that_are_not_mnist_are_refused(tmp_path, kind, array, complaint):
    write_mnist(tmp_path)
    (tmp_path / f"t10k-{kind}-ubyte").write_bytes(idx(array))
    with pytest.raises(DataError, match=complaint):
        read_mnist("test", tmp_path)


def test_a_data_error_is_bad_input():
    assert issubclass(DataError, InputError)


# ---------------------------------------------------------------- the real files


@pytest.mark.parametrize(
    ("split", "n", "pixels_md5", "first_labels"),
    [
        ("train", 60_000, "6bbc9ace898e44ae57da46a324031adb", [5, 0, 4, 1, 9]),
        ("test", 10_000, None, [7, 2, 1, 0, 4]),
    ],
)
def test_the_real_mnist(data_dir, split, n, pixels_md5, first_labels):
    images = read_mnist(split, data_dir)
    assert images.pixels.shape == (n, 28, 28)
    assert images.labels[:5].tolist() == first_labels
    if pixels_md5:  # of the unpacked file of the original distribution, header included
        assert hashlib.md5(idx(images.pixels)).hexdigest() == pixels_md5
