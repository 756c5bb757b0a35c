"""Paths as safetensors files: one tensor a parameter, `[points, *shape]`, in path order."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from thalweg.errors import InputError
from thalweg.parameters import IN_MEMORY, Layout, RowFile, each_row, replacing
from thalweg.paths.path import Bezier, Path, Polygonal

_KINDS = {"polygonal": Polygonal, "bezier": Bezier}
_TAGS = {torch.float32: "F32", torch.float64: "F64"}
_DTYPES = {tag: dtype for dtype, tag in _TAGS.items()}
# Bytes of points read at a time, of a path longer than memory.
_BLOCK = 1 << 26


def save_path(path: Path, file: str | FilePath, more: Mapping[str, str] | None = None) -> None:
    """Write a path, completely or not at all.

    The points are written tensor by tensor and point by point, so that a string longer than
    memory can be saved; the library's own writer wants all of it in memory at once.

    Args:
        path: to write.
        file: the name to give it.
        more: strings to keep in its metadata.

    Raises:
        InputError: if the file cannot be written.
    """
    points, layout = path.points, path.layout
    item = layout.dtype.itemsize
    header: dict[str, object] = {
        "__metadata__": {
            **(more or {}),
            "format": "thalweg.path",
            "kind": path.kind,
            "points": str(len(points)),
            "order": json.dumps(layout.names),
        },
    }
    offset = 0
    for name, shape, size in zip(layout.names, layout.shapes, layout.sizes, strict=True):
        end = offset + len(points) * size * item
        header[name] = {
            "dtype": _TAGS[layout.dtype],
            "shape": [len(points), *shape],
            "data_offsets": [offset, end],
        }
        offset = end
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)  # the format wants the data aligned to 8 bytes
    with replacing(FilePath(file)) as temporary, temporary.open("wb") as out:
        out.write(len(encoded).to_bytes(8, "little"))
        out.write(encoded)
        start = 0
        for size in layout.sizes:
            for row in each_row(points):
                out.write(row[start : start + size].cpu().contiguous().numpy().tobytes())
            start += size


def load_path(file: str | FilePath) -> Path:
    """Read a path; one longer than memory comes to lie in a temporary file, mapped.

    Args:
        file: written by :func:`save_path`.

    Raises:
        InputError: if the file is missing, truncated, corrupt or not a path.
    """
    file = FilePath(file)
    if not file.is_file():
        raise InputError(f"expected a path at {file}, got nothing: check the folder")
    try:
        with safe_open(file, framework="pt") as content:
            metadata = content.metadata() or {}
            kind, points = _KINDS[metadata["kind"]], int(metadata["points"])
            names = tuple(json.loads(metadata["order"]))
            layout = _layout(content, names, points)
        return kind(_points(file, layout, points), layout)
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"expected a safetensors file, got one that cannot be read ({error}): {file} is "
            "truncated or corrupt"
        ) from error
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        raise InputError(
            f"expected a path written by thalweg, got other tensors or metadata ({error}) in {file}"
        ) from error


def _layout(content: Any, names: tuple[str, ...], points: int) -> Layout:
    """Names and shapes of an open file, checked against each other."""
    if set(content.keys()) != set(names) or len(set(names)) != len(names) or points < 2:
        raise ValueError(f"tensors {sorted(content.keys())} are not {points} of {sorted(names)}")
    slices = {name: content.get_slice(name) for name in names}
    shapes = {name: tuple(part.get_shape()) for name, part in slices.items()}
    dtypes = {part.get_dtype() for part in slices.values()}
    if dtypes - set(_DTYPES) or len(dtypes) != 1:
        raise ValueError(f"tensors of {', '.join(sorted(dtypes))}")
    if any(shape[:1] != (points,) for shape in shapes.values()):
        raise ValueError(f"tensors of shapes {sorted(shapes.values())} for {points} points")
    return Layout(names, tuple(shapes[name][1:] for name in names), _DTYPES[dtypes.pop()])


def _points(file: FilePath, layout: Layout, points: int) -> Tensor:
    """The points `[points, p]`, in memory or mapped."""
    row_bytes = layout.size * layout.dtype.itemsize
    if points * row_bytes <= IN_MEMORY:
        return _rows(file, layout, 0, points)
    parked = RowFile(layout.size, layout.dtype)
    block = max(1, _BLOCK // row_bytes)
    for start in range(0, points, block):
        for row in _rows(file, layout, start, min(points, start + block)):
            parked.append(row)
    return parked.mapped()


def _rows(file: FilePath, layout: Layout, start: int, end: int) -> Tensor:
    """Points of the file; it is opened anew each time, for the reader keeps what it has read."""
    with safe_open(file, framework="pt") as content:
        parts = [content.get_slice(name)[start:end] for name in layout.names]
        return torch.cat([part.reshape(end - start, -1) for part in parts], dim=1)
