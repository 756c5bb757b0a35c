"""``thalweg plane``: the plane through three models, or through a connection's ends and a bead."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import thalweg
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
from thalweg.cli.pictures import (
    Look,
    Reach,
    Shape,
    SplitName,
    check_picture,
    extent_of,
    shape_of,
    show_plane,
    values_file,
    write_plane,
)
from thalweg.cli.problem import Problem, load_problem
from thalweg.cli.progress import Display
from thalweg.cli.verify import recorded
from thalweg.connect import PLANE_FILES, Connection
from thalweg.errors import InputError
from thalweg.geometry import Plane, connection_plane


def plane(
    places: Annotated[
        list[Path],
        typer.Argument(metavar="DIR | A B C", help="A connection's folder; or three checkpoints."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Picture to write: .png, .svg or .pdf; default: plane.png in the connection's "
            "folder, where thalweg report finds it. Its numbers come beside it.",
        ),
    ] = None,
    task: TaskName = None,
    problem: ProblemName = None,
    bead: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Through which bead; default: the one farthest off."),
    ] = None,
    extent: Reach = None,
    shape: Shape = "41",  # type: ignore[assignment]  # parsed
    split: SplitName = None,
    style: Look = "heat",
    seed: Seed = 0,
    data_dir: DataDir = None,
    device: Device = None,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Draw the criterion on the plane through three models, and a connection's path on it.

    Axes are Euclidean distances in parameter space. Run again after an interruption, the same
    command goes on where it was.
    """
    folder, out = _place(places, out)
    check_picture(out, style)
    set_threads(threads)
    values = values_file(out)
    reach = extent_of(extent)
    with Display("plane") as display:
        options = {"shape": shape_of(shape, 2), "extent": reach, "split": split,
                   "progress": display.points, "resume": values}  # fmt: skip
        if folder is not None:
            connection = thalweg.load_connection(folder)
            loaded = of_connection(connection, folder, task, problem, data_dir, device)
            found = connection_plane(connection, loaded.objective, bead=bead, seed=seed, **options)
        else:
            found = _through(places, load_problem(task, problem, data_dir, device), options)
    show_plane(found, write_plane(found, out, style), json=json)


def _place(places: list[Path], out: Path | None) -> tuple[Path | None, Path]:
    """The connection's folder, if it is one, and the picture's name."""
    if len(places) not in (1, 3):
        raise InputError(
            f"expected a connection's folder or three checkpoints, got {len(places)} names"
        )
    folder = places[0] if len(places) == 1 else None
    if out is None and folder is None:
        raise InputError("expected --out FILE for three checkpoints, got none: name a picture")
    return folder, out or places[0] / PLANE_FILES[0]


def of_connection(
    connection: Connection,
    folder: Path,
    task: str | None,
    problem: str | None,
    data_dir: Path | None,
    device: str | None,
) -> Problem:
    """The problem that a connection names, unless the command names another."""
    if task is None and problem is None:
        task, problem = recorded(connection, folder)
    same = task == connection.settings.get("task")
    options = connection.settings.get("task_options") if same else {}
    return load_problem(task, problem, data_dir, device, options)


def _through(files: list[Path], loaded: Problem, options: dict) -> Plane:  # type: ignore[type-arg]
    frame = thalweg.plane_through(loaded.objective, *files)
    models = {
        name: loaded.objective.theta(file, f"model {name}").cpu()
        for name, file in zip("ABC", files, strict=True)
    }
    return thalweg.plane(loaded.objective, frame, models=models, **options)
