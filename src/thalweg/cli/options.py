"""Options that several commands share."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from thalweg.errors import InputError
from thalweg.threads import use_threads

DEFAULT_PROFILE_POINTS = 17
"""Points of the profile that pictures are drawn from, besides the beads."""

# Decimal, as disks and PyTorch count them; binary with an i.
_UNITS = {
    "": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
    "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40,
}  # fmt: skip


def parse_size(text: str) -> int:
    """Bytes from a number and a unit.

    Args:
        text: such as ``2GB``, ``1.5 GiB`` or ``500000000``.

    Raises:
        InputError: if it is neither.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", text.strip().lower(), re.ASCII)
    size = int(float(match[1]) * _UNITS[match[2]]) if match and match[2] in _UNITS else 0
    if size < 1:
        raise InputError(
            f"expected a size such as 500MB, 2GB or 1.5GiB for --memory-limit, got '{text}'"
        )
    return size


def set_threads(threads: int | None) -> None:
    """Compute with so many threads; None leaves it to PyTorch and OMP_NUM_THREADS."""
    if threads is not None:
        use_threads(threads)


Json = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON document on stdout, and nothing else there."),
]
DataDir = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", help="Folder of the data sets; otherwise the variable THALWEG_DATA names it."
    ),
]
Device = Annotated[
    str | None, typer.Option(metavar="NAME", help="Where to compute: cpu, cuda, cuda:1, mps.")
]
Threads = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Threads to compute with; otherwise OMP_NUM_THREADS says, or all cores.",
    ),
]
MemoryLimit = Annotated[
    int | None,
    typer.Option(
        parser=parse_size,
        metavar="SIZE",
        help="Memory that the search may take beyond model and data, such as 500MB or 2GB; models "
        "that do not fit wait on disk. Default: 2GB, or what one model in training needs.",
    ),
]
Seed = Annotated[int, typer.Option(min=0, metavar="N", help="Seed of everything random.")]
Threshold = Annotated[
    float, typer.Option(metavar="L0", help="The level, in the units of the criterion.")
]
TaskName = Annotated[
    str | None, typer.Option("--task", metavar="TASK", help="A named problem: see thalweg tasks.")
]
ProblemName = Annotated[
    str | None,
    typer.Option(
        "--problem",
        metavar="MODULE:FACTORY",
        help="A problem of your own: an importable module or a .py file, and the function in it "
        "that takes no arguments and returns a thalweg.Objective.",
    ),
]
MaxSteps = Annotated[
    int, typer.Option(min=1, metavar="N", help="Optimizer steps that one model may take.")
]
MaxSeconds = Annotated[
    float | None, typer.Option(min=0, metavar="S", help="Time that the search may take.")
]
