"""``thalweg trajectory``: the way of a training over the surface that it went down."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, cast

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
    Out,
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
from thalweg.cli.problem import load_problem
from thalweg.cli.progress import Display
from thalweg.geometry import trajectory_frame


def trajectory(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A trajectory: see thalweg.Trajectory.")
    ],
    out: Out,
    task: TaskName = None,
    problem: ProblemName = None,
    directions: Annotated[
        str,
        typer.Option(metavar="pca|random", help="Its principal components, or random directions."),
    ] = "pca",
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
    """Draw a recorded training on a plane through its last point."""
    check_picture(out, style)
    set_threads(threads)
    loaded = load_problem(task, problem, data_dir, device)
    path, steps = thalweg.load_trajectory(file)
    frame = trajectory_frame(
        loaded.objective, path, cast(Literal["pca", "random"], directions), seed=seed
    )
    ends = {f"step {steps[0]:,}": path.points[0], f"step {steps[-1]:,}": path.points[-1]}
    with Display("trajectory") as display:
        found = thalweg.plane(
            loaded.objective, frame, extent_of(extent), shape_of(shape, 2), models=ends,
            paths={"trajectory": path}, split=split, progress=display.points,
            resume=values_file(out),
        )  # fmt: skip
    show_plane(found, write_plane(found, out, style), json=json)
