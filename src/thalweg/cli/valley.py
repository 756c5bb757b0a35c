"""``thalweg valley``: how wide the valley is around a connection."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import thalweg
from thalweg.cli.console import print_facts, print_json, print_sentence
from thalweg.cli.options import (
    DataDir,
    Device,
    Json,
    ProblemName,
    Seed,
    TaskName,
    Threads,
    set_threads,
)
from thalweg.cli.plane import of_connection
from thalweg.cli.progress import Display
from thalweg.geometry import Valley
from thalweg.geometry import valley as take_valley


def valley(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Of a connection.")],
    task: TaskName = None,
    problem: ProblemName = None,
    level: Annotated[
        float | None,
        typer.Option(metavar="L", help="Of the criterion; default: the connection's threshold."),
    ] = None,
    directions: Annotated[
        int, typer.Option(min=1, metavar="N", help="Random ones at each point.")
    ] = 8,
    points: Annotated[
        int | None,
        typer.Option(min=2, metavar="N", help="Evenly along the path; default: at its beads."),
    ] = None,
    reach: Annotated[
        float | None,
        typer.Option(metavar="R", help="How far to look for walls; default: norm of endpoint A."),
    ] = None,
    seed: Seed = 0,
    data_dir: DataDir = None,
    device: Device = None,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Measure the valley around a connection: from wall to wall across it, and how long it is.

    Exit status: 0 done; 2 bad input, such as a path that rises above the level.
    """
    set_threads(threads)
    connection = thalweg.load_connection(folder)
    objective = of_connection(connection, folder, task, problem, data_dir, device).objective
    places = None if points is None else [i / (points - 1) for i in range(points)]
    with Display("valley") as display:
        found = take_valley(
            objective, connection.path, connection.threshold if level is None else level,
            t=places, directions=directions, reach=reach, seed=seed, progress=display.points,
        )  # fmt: skip
    if json:
        print_json(found.document())
    else:
        show(found, objective.criterion.name)


def show(found: Valley, criterion: str) -> None:
    """Print a valley for a person."""
    print_sentence(
        f"The valley below {criterion} {found.level:g} is {found.length:.4g} long and "
        f"{found.narrow_width:.4g} wide at its waist.",
        good=True,
    )
    facts = [
        ("width", f"{found.width:.4g} from wall to wall along random normals, median"),
        ("aspect", f"{found.aspect:.4g} times as long as wide along the sharpest normals"),
    ]
    facts += [
        (
            f"t = {section.t:.3f}",
            f"{criterion} {section.value:.4g}, width {section.width:.4g}, "
            f"along the sharpest {section.narrow_width:.4g}",
        )
        for section in found.sections
    ]
    print_facts(facts)
