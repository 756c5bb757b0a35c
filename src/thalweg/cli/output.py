"""Places to write to: checked before anything is computed, written completely or not at all."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from thalweg.connect import Connection, check_output
from thalweg.errors import InputError

_PICTURES = ("comparison.png", "comparison.svg")


def check_folder(folder: Path) -> None:
    """Refuse a place where a connection cannot be saved.

    Args:
        folder: to be.

    Raises:
        InputError: if something else is there, or the folder could not be made.
    """
    check_output(folder)
    check_writable(folder)


def check_file(file: Path, suffix: str, option: str = "--out") -> None:
    """Refuse a name under which a file cannot be written.

    Args:
        file: to be; one that exists is replaced.
        suffix: that it must have.
        option: that names it.

    Raises:
        InputError: if the name ends otherwise, a folder has it, or its folder could not be made.
    """
    if file.suffix != suffix:
        raise InputError(
            f"expected a file name that ends in {suffix} for {option}, got {file}: "
            f"name it {file.with_suffix(suffix) if file.name else 'FILE' + suffix}"
        )
    if file.is_dir():
        raise InputError(
            f"expected a file name for {option}, got the folder {file}: choose another"
        )
    check_writable(file)


def save_connection(connection: Connection, folder: Path) -> list[str]:
    """Save a connection, and beside it the pictures and the numbers of its profile.

    Args:
        connection: to save.
        folder: its name.

    Returns:
        The names of the files in it.
    """
    connection.save(folder)
    names = ["path.safetensors", "connection.json"]
    if connection.profile is not None:
        # Imported here: matplotlib takes a second, which nobody else should wait for.
        from thalweg.plots import compute_profile, profile_table, save_profile, save_table

        for name in ("profile.png", "profile.svg"):
            save_profile(connection, folder / name)
        save_table(profile_table(compute_profile(connection)), folder / "profile.csv")
        names += ["profile.png", "profile.svg", "profile.csv"]
    return names


def check_comparison(folder: Path) -> None:
    """Refuse a place where a comparison cannot be saved.

    Args:
        folder: to be; connections in it are replaced.

    Raises:
        InputError: if it holds anything else, or could not be made.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"expected a folder for --out, got a file at {folder}: choose another")
    for entry in sorted(folder.iterdir()) if folder.is_dir() else []:
        if entry.name not in _PICTURES:
            check_folder(entry)
    check_writable(folder)


def save_comparison(connections: Sequence[Connection], folder: Path) -> list[str]:
    """Save the connection of every method in a folder of its name, and the picture beside them.

    Args:
        connections: of one pair, by several methods.
        folder: of all.

    Returns:
        The names in it.
    """
    # Imported here: matplotlib takes a second, which nobody else should wait for.
    from thalweg.plots import save_comparison as save_picture

    for connection in connections:
        connection.save(folder / connection.method)
    for name in _PICTURES:
        save_picture(connections, folder / name)
    return [*_PICTURES, *(connection.method for connection in connections)]


def check_writable(place: Path) -> None:
    """Whether something could be made there: its nearest folder that exists must take files.

    Args:
        place: of the file or folder to be.

    Raises:
        InputError: if it could not.
    """
    parent = place.absolute().parent
    while not os.path.lexists(parent):
        parent = parent.parent
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        what = "no permission to write" if parent.is_dir() else "a file"
        raise InputError(
            f"expected to write {place}, got {what} at {parent}: choose another place for --out"
        )
