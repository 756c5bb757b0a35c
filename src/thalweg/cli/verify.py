"""``thalweg verify``: look at a saved connection a second time."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

import thalweg
from thalweg.cli.console import finish, print_facts, print_json, print_sentence, say
from thalweg.cli.options import (
    DataDir,
    Device,
    Json,
    ProblemName,
    TaskName,
    Threads,
    set_threads,
)
from thalweg.cli.problem import load_problem
from thalweg.cli.progress import Display
from thalweg.connect import Connection, Verification
from thalweg.documents import finite
from thalweg.errors import InputError


def verify(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a connection.")],
    points: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Inside each segment; default: 33, or 9 if a point is costly."
        ),
    ] = None,
    task: TaskName = None,
    problem: ProblemName = None,
    data_dir: DataDir = None,
    device: Device = None,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Check a saved connection from its files alone, in float64, on points of its own.

    The task or problem is the one that the connection names, unless you name it. A problem is
    Python code, which this command runs: if the connection comes from somebody else, name your own.
    Exit status: 0 verified; 3 not verified; 2 bad input.
    """
    set_threads(threads)
    connection = thalweg.load_connection(folder)
    if task is None and problem is None:
        task, problem = recorded(connection, folder)
    options = (
        connection.settings.get("task_options") if task == connection.settings.get("task") else {}
    )
    loaded = load_problem(task, problem, data_dir, device, options)
    with Display("verifying") as display:
        found = thalweg.verify(connection, loaded.objective, points=points, progress=display.points)
    if json:
        print_json(describe(found))
    else:
        criterion = f"{connection.criterion['name']} on {connection.criterion['split']}"
        show(found, criterion)
    finish(negative=not found.passed)


def recorded(connection: Connection, folder: Path) -> tuple[str | None, str | None]:
    """The task or the problem that a connection was made with.

    Args:
        connection: as loaded.
        folder: from where.

    Raises:
        InputError: if its record names neither.
    """
    task, problem = (connection.settings.get(key) for key in ("task", "problem"))
    if task is None and problem is None:
        raise InputError(
            f"expected a task or problem in the settings of {folder}, got neither: "
            "name it with --task or --problem"
        )
    if problem is not None:
        say(f"running {problem}, as {folder} names it")
    return task, problem


def describe(found: Verification) -> dict[str, Any]:
    """A verification as a JSON document."""
    return {
        "passed": found.passed,
        "problems": list(found.problems),
        "max_criterion_seen": finite(found.max_criterion_seen),
        "points": found.points,
        "threshold": found.threshold,
        "proved_again": found.proved_again,
    }


def show(found: Verification, criterion: str) -> None:
    """Print a verification for a person."""
    if found.passed:
        again = f"; proved again on all {found.proved_again} segments" if found.proved_again else ""
        print_sentence(
            f"Verified: {criterion} is at most {found.max_criterion_seen:.6g} at {found.points:,} "
            f"points of the path (threshold {found.threshold:g}){again}.",
            good=True,
        )
        return
    print_sentence("Not verified:", good=False)
    print_facts([("", problem) for problem in found.problems])
