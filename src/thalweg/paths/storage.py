"""Paths as safetensors files: one tensor a parameter, `[points, *shape]`, in path order."""

from __future__ import annotations

import json
from pathlib import Path as FilePath

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from thalweg.errors import InputError
from thalweg.parameters import Layout, replacing
from thalweg.paths.path import Bezier, Path, Polygonal

_KINDS = {"polygonal": Polygonal, "bezier": Bezier}
_TAGS = {torch.float32: "F32", torch.float64: "F64"}


def save_path(path: Path, file: str | FilePath) -> None:
    """Write a path, completely or not at all.

    The points are written tensor by tensor and point by point, so that a string longer than
    memory can be saved; the library's own writer wants all of it in memory at once.

    Args:
        path: to write.
        file: the name to give it.

    Raises:
        InputError: if the file cannot be written.
    """
    points, layout = path.points, path.layout
    item = layout.dtype.itemsize
    header: dict[str, object] = {
        "__metadata__": {"format": "thalweg.path", "kind": path.kind, "points": str(len(points)),
                         "order": json.dumps(layout.names)},
    }  # fmt: skip
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
            for row in points:
                out.write(row[start : start + size].cpu().contiguous().numpy().tobytes())
            start += size


def load_path(file: str | FilePath) -> Path:
    """Read a path.

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
            tensors = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118
        kind = metadata["kind"]
        names = tuple(json.loads(metadata["order"]))
        points = int(metadata["points"])
        flat = _join(tensors, names, points)
        layout = Layout(names, tuple(tuple(tensors[n].shape[1:]) for n in names), flat.dtype)
        return _KINDS[kind](flat, layout)
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"expected a safetensors file, got one that cannot be read ({error}): {file} is "
            "truncated or corrupt"
        ) from error
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        raise InputError(
            f"expected a path written by thalweg, got other tensors or metadata ({error}) in {file}"
        ) from error


def _join(tensors: dict[str, Tensor], names: tuple[str, ...], points: int) -> Tensor:
    if set(tensors) != set(names):
        raise ValueError(f"tensors {sorted(tensors)} are not those listed, {sorted(names)}")
    return torch.cat([tensors[name].reshape(points, -1) for name in names], dim=1)
