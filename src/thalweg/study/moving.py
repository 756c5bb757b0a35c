"""Files that get their final names together, or not at all."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path


@contextlib.contextmanager
def moving(ready: Mapping[Path, Path]) -> Iterator[None]:
    """Leave nothing behind of files that were not moved to their final names."""
    try:
        yield
    finally:
        for temporary in ready.values():
            if temporary.is_dir():
                shutil.rmtree(temporary, ignore_errors=True)
            else:
                temporary.unlink(missing_ok=True)


def move(ready: Mapping[Path, Path]) -> None:
    """Give files their final names; those of an attempt that was cut off here are replaced."""
    for final, temporary in ready.items():
        if final.is_dir():
            shutil.rmtree(final)
        temporary.replace(final)
