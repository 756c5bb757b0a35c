"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_PROFILE_POINTS = 17
"""Points of the profile that pictures are drawn from, besides the beads."""

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
