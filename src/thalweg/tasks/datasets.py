"""Reading the standard files of public data sets, and saying what is wrong with them."""

from __future__ import annotations

import gzip
import lzma
import math
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from thalweg.errors import InputError

VARIABLE = "THALWEG_DATA"
"""Environment variable that names the folder of the data sets."""

Bytes = NDArray[np.uint8]

_UNPACK: dict[str, Callable[[bytes], bytes]] = {
    "": lambda packed: packed,
    ".gz": gzip.decompress,
    ".xz": lzma.decompress,
}

_UNSIGNED_BYTE = 0x08  # the element type in the third byte of an idx file's magic number

_CIFAR10_RECORD = 1 + 3 * 32 * 32

_MNIST_STEMS = {"train": "train", "test": "t10k"}


class DataError(InputError):
    """A data set that is missing, incomplete, or not what its name says."""


class Images(NamedTuple):
    """Labelled images as they are stored.

    Attributes:
        pixels: `[n, height, width]` or `[n, colours, height, width]`, from 0 to 255.
        labels: `[n]`, from 0 to the number of classes less one.
    """

    pixels: Bytes
    labels: Bytes

    def first(self, count: int) -> Images:
        """So many of them, in order."""
        return Images(self.pixels[:count], self.labels[:count])


def data_folder(folder: str | Path | None = None) -> Path:
    """Find the folder of the data sets.

    Args:
        folder: the folder itself; None stands for the one that the environment variable
            ``THALWEG_DATA`` names.

    Returns:
        A folder that exists.

    Raises:
        DataError: if none is named, or what is named is not a folder.
    """
    origin = "as the data folder"
    if folder is None:
        folder = os.environ.get(VARIABLE) or None
        origin = f"in {VARIABLE}"
    if folder is None:
        raise DataError(
            "expected a folder of data sets, got none: "
            f"name it with --data-dir or in the environment variable {VARIABLE}"
        )
    path = Path(folder).expanduser()
    if not path.is_dir():
        what = "a file" if path.exists() else "nothing"
        raise DataError(
            f"expected a folder of data sets, got {path} {origin}, where there is {what}: "
            "name the folder that holds the data files"
        )
    return path


def find_file(folder: Path, name: str) -> Path:
    """Find a data file, whether it is packed or not.

    Args:
        folder: where to look.
        name: the canonical name, without ``.gz`` or ``.xz``.

    Returns:
        The plain file if there is one, else the ``.gz``, else the ``.xz``.

    Raises:
        DataError: if there is none of them.
    """
    for suffix in _UNPACK:
        path = folder / f"{name}{suffix}"
        if path.is_file():
            return path
    raise DataError(
        f"expected {name} (plain, .gz or .xz) in {folder}, got no such file: "
        "put the standard files of the data set there, or name another folder with --data-dir"
    )


def read_bytes(path: Path) -> bytes:
    """Read a file, unpacked according to its name's ending.

    Args:
        path: a ``.gz``, an ``.xz`` or any other file, which is taken to be plain.

    Returns:
        The unpacked content.

    Raises:
        DataError: if the file cannot be read or unpacked.
    """
    suffix = path.suffix if path.suffix in _UNPACK else ""
    try:
        return _UNPACK[suffix](path.read_bytes())
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        # gzip.BadGzipFile is an OSError; EOFError is how gzip says that the end is missing.
        kind = f"a readable {suffix} file" if suffix else "a readable file"
        raise DataError(
            f"expected {kind} at {path}, got a damaged one ({error}): fetch it again"
        ) from error


def read_idx(path: Path) -> Bytes:
    """Read an idx file of unsigned bytes, the format of MNIST.

    The header is a magic number (two zero bytes, the element type, the number of dimensions)
    and the length of each dimension as a big-endian 32-bit integer; the elements follow,
    the last dimension fastest.

    Args:
        path: plain, ``.gz`` or ``.xz``.

    Returns:
        The array, of the dimensions that the header declares.

    Raises:
        DataError: if the header is not that of an idx file of unsigned bytes, or the file holds
            more or less than its header declares.
    """
    content = read_bytes(path)
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != _UNSIGNED_BYTE or not content[3]:
        raise DataError(
            f"expected {path} to be an idx file of unsigned bytes (it begins 00 00 08), "
            f"got a file that begins {content[:4].hex(' ') or 'and ends at once'}: fetch it again"
        )
    header = 4 + 4 * content[3]
    if len(content) < header:
        raise DataError(
            f"expected a header of {header} bytes in {path}, got a file of {len(content)} bytes: "
            "it is truncated, fetch it again"
        )
    shape = tuple(int(length) for length in np.frombuffer(content, ">u4", content[3], offset=4))
    if len(content) - header != math.prod(shape):
        what = "truncated" if len(content) - header < math.prod(shape) else "too long"
        raise DataError(
            f"expected {math.prod(shape)} elements of shape {list(shape)} in {path}, "
            f"got {len(content) - header}: the file is {what}, fetch it again"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def read_mnist(split: Literal["train", "test"], folder: str | Path | None = None) -> Images:
    """Read one split of MNIST from its standard idx files.

    Args:
        split: ``train`` (60,000 images) or ``test`` (10,000).
        folder: where the files are; None stands for ``THALWEG_DATA``.

    Returns:
        Pixels `[n, 28, 28]` and labels `[n]`, in the order of the files.

    Raises:
        DataError: if a file is missing or damaged, or images and labels do not fit together.
    """
    where = data_folder(folder)
    stem = _MNIST_STEMS[split]
    pixels_path = find_file(where, f"{stem}-images-idx3-ubyte")
    labels_path = find_file(where, f"{stem}-labels-idx1-ubyte")
    pixels, labels = read_idx(pixels_path), read_idx(labels_path)
    if pixels.ndim != 3 or pixels.shape[1:] != (28, 28) or not len(pixels):
        raise DataError(
            f"expected images of shape [n, 28, 28] in {pixels_path}, got {list(pixels.shape)}: "
            "this is not a file of MNIST images"
        )
    if labels.shape != pixels.shape[:1]:
        raise DataError(
            f"expected {len(pixels)} labels in {labels_path}, one for each image, "
            f"got shape {list(labels.shape)}: the two files do not belong together"
        )
    if labels.max() > 9:
        raise DataError(
            f"expected labels from 0 to 9 in {labels_path}, got {labels.max()}: "
            "this is not a file of MNIST labels"
        )
    return Images(pixels, labels)


def read_cifar10(
    split: Literal["train", "test"], folder: str | Path | None = None, files: int = 5
) -> Images:
    """Read one split of CIFAR-10 from its binary version.

    Args:
        split: ``train`` (50,000 images in five files) or ``test`` (10,000 in one).
        folder: where the files are; None stands for ``THALWEG_DATA``.
        files: how many of the five to read: each takes about two seconds to unpack.

    Returns:
        Pixels `[n, 3, 32, 32]` and labels `[n]`, in the order of the files.

    Raises:
        DataError: if a file is missing or damaged.
    """
    where = data_folder(folder)
    stems = [f"data_batch_{i}" for i in range(1, files + 1)] if split == "train" else ["test_batch"]
    parts = [_read_cifar10_file(find_file(where, f"{stem}.bin")) for stem in stems]
    return Images(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _read_cifar10_file(path: Path) -> Images:
    """Records of one byte for the label and 3,072 for red, green and blue, row by row.

    Raises:
        DataError: if the file is anything else.
    """
    content = read_bytes(path)
    if not content or len(content) % _CIFAR10_RECORD:
        raise DataError(
            f"expected records of {_CIFAR10_RECORD} bytes in {path}, got {len(content)} bytes: "
            "this is not a complete file of the binary version of CIFAR-10"
        )
    records = np.frombuffer(content, np.uint8).reshape(-1, _CIFAR10_RECORD)
    if records[:, 0].max() > 9:
        raise DataError(
            f"expected labels from 0 to 9 in {path}, got {records[:, 0].max()}: "
            "this is not a file of CIFAR-10's binary version"
        )
    return Images(records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0])


def read_ptb(
    split: Literal["train", "valid", "test"], folder: str | Path | None = None
) -> list[str]:
    """Read one split of Mikolov's Penn Treebank.

    Args:
        split: which one.
        folder: where the files are; None stands for ``THALWEG_DATA``.

    Returns:
        The words, each line closed by ``<eos>``.

    Raises:
        DataError: if the file is missing, damaged, empty, or not text.
    """
    path = find_file(data_folder(folder), f"ptb.{split}.txt")
    try:
        text = read_bytes(path).decode()
    except UnicodeDecodeError as error:
        raise DataError(
            f"expected text in {path}, got bytes that are not UTF-8: this is not a file of the "
            "Penn Treebank's text"
        ) from error
    words = text.replace("\n", " <eos> ").split()
    if not words:
        raise DataError(f"expected words in {path}, got none: fetch it again")
    return words
