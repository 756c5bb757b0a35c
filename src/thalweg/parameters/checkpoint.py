"""Checkpoint files: safetensors, and .pt/.pth state dicts that are never unpickled."""

from __future__ import annotations

import contextlib
import os
import pickle
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from thalweg.errors import InputError

TORCH_SUFFIXES = (".pt", ".pth")


def load_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """Read the named tensors of a checkpoint.

    Args:
        path: a ``.safetensors`` file, or a ``.pt``/``.pth`` file that holds a pure state dict.
            The latter is read with ``weights_only=True``: no code in it ever runs.

    Returns:
        Name to tensor, on the CPU.

    Raises:
        InputError: if the file is missing, truncated, of another kind, or holds anything but
            tensors.
    """
    path = Path(path)
    if not path.is_file():
        what = "a folder" if path.is_dir() else "nothing"
        raise InputError(f"expected a checkpoint file at {path}, got {what}: check the path")
    if path.suffix == ".safetensors":
        return _load_safetensors(path)
    if path.suffix in TORCH_SUFFIXES:
        return _load_torch(path)
    raise InputError(
        f"expected a checkpoint named .safetensors, .pt or .pth, got {path.name}: "
        "save it with safetensors.torch.save_file(model.state_dict(), ...)"
    )


def save_checkpoint(
    path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write named tensors as safetensors, completely or not at all.

    Args:
        path: file to write; its folder is made if need be.
        tensors: name to tensor, of any strides.
        metadata: strings to keep beside them.

    Raises:
        InputError: if the file cannot be written.
    """
    # Views into one flat vector share memory, which the format refuses: write copies.
    own = {
        name: t.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, t in tensors.items()
    }
    data = save(own, metadata=dict(metadata or {}))
    with replacing(Path(path)) as temporary:
        temporary.write_bytes(data)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path` to write to; it takes the final name only at the end.

    Args:
        path: the final name.

    Yields:
        The temporary name, removed if the block does not finish.

    Raises:
        InputError: if the folder or file cannot be written.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        temporary.chmod(0o666 & ~_umask())
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise InputError(
            f"expected to write {path}, got '{error.strerror or error}': "
            "choose another place or free some space"
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _load_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 no mapping
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"expected a safetensors file, got one that cannot be read ({error}): {path} is "
            "truncated, corrupt or of another kind; save it again"
        ) from error


def _load_torch(path: Path) -> dict[str, Tensor]:
    try:
        with warnings.catch_warnings():
            # torch warns of its own deprecated storages while it reads old files.
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"expected a pure state dict, got a pickle with other objects: {path} was not "
            "unpickled, for a pickle can run any code; save model.state_dict() instead"
        ) from error
    except Exception as error:  # a damaged file makes torch raise almost anything
        raise InputError(
            f"expected a torch state dict, got a file that cannot be read "
            f"({str(error).splitlines()[0] if str(error) else type(error).__name__}): {path} is "
            "truncated, corrupt or of another kind; save it again"
        ) from error
    if not isinstance(content, Mapping):
        raise InputError(
            f"expected a state dict of tensors, got a {type(content).__name__} in {path}: "
            "save model.state_dict()"
        )
    others = [str(name) for name, value in content.items() if not isinstance(value, Tensor)]
    if others or not content:
        got = f"other entries ({', '.join(others[:5])})" if others else "an empty one"
        raise InputError(
            f"expected a state dict of nothing but tensors, got {got} in {path}: "
            "save model.state_dict() by itself"
        )
    return {str(name): value for name, value in content.items()}
