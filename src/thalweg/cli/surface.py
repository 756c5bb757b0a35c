"""``thalweg surface``: the criterion around one model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, cast

import torch
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
from thalweg.errors import InputError
from thalweg.geometry import NORMALIZATIONS, Frame, Normalization, hessian_frame, random_directions
from thalweg.objective import Criterion, Objective

_KINDS = ("random", "hessian")


def surface(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Checkpoint to look around.")],
    out: Out,
    task: TaskName = None,
    problem: ProblemName = None,
    directions: Annotated[
        str,
        typer.Option(
            metavar="|".join(_KINDS), help="Random, or eigenvectors of the largest curvature."
        ),
    ] = "random",
    direction: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE", help="A direction of your own, saved like a checkpoint; once or twice."
        ),
    ] = None,
    normalization: Annotated[
        str,
        typer.Option(
            metavar="|".join(NORMALIZATIONS),
            help="Of random directions: each filter, or each tensor, as long as the model's own "
            "(Li et al. 2018); vectors such as biases and BatchNorm's stand still, unless none.",
        ),
    ] = "filter",
    dimensions: Annotated[
        int, typer.Option(min=1, max=2, metavar="1|2", help="A line, or a plane.")
    ] = 2,
    extent: Reach = "1",  # type: ignore[assignment]  # parsed
    shape: Shape = "51",  # type: ignore[assignment]  # parsed
    measures: Annotated[
        str | None,
        typer.Option(metavar="NAME,…", help="loss, error_rate, perplexity; or the criterion."),
    ] = None,
    split: SplitName = None,
    style: Look = "heat",
    seed: Seed = 0,
    data_dir: DataDir = None,
    device: Device = None,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Draw the criterion on a line or plane through a model.

    Run again after an interruption, the same command goes on where it was.
    """
    check_picture(out, style)
    set_threads(threads)
    loaded = load_problem(task, problem, data_dir, device)
    chosen = measures.split(",") if measures else []
    taken = [Criterion(name.strip()) for name in chosen] or None
    frame = _frame(
        loaded.objective, model, directions, direction or [], normalization, dimensions, seed
    )
    axes = len(frame.directions)
    reach = extent_of(cast(tuple[float, ...], extent))
    with Display("surface") as display:
        found = thalweg.plane(
            loaded.objective, frame, reach[:axes] if isinstance(reach, list) else reach,
            shape_of(shape, axes), models={"model": frame.origin.cpu()}, split=split,
            measures=taken, progress=display.points, resume=values_file(out),
        )  # fmt: skip
    show_plane(found, write_plane(found, out, style), json=json)


def _frame(
    objective: Objective,
    model: Path,
    kind: str,
    files: list[Path],
    normalization: str,
    dimensions: int,
    seed: int,
) -> Frame:
    if len(files) > 2:
        raise InputError(f"expected --direction once or twice, got {len(files)}")
    if files:
        rows = [objective.theta(file, "the direction") for file in files]
        theta = objective.theta(model, "the model")
        return Frame(theta, torch.stack(rows), tuple(file.stem for file in files))
    if kind not in _KINDS:
        raise InputError(f"expected directions {' or '.join(_KINDS)}, got '{kind}'")
    if kind == "hessian":
        return hessian_frame(objective, model, dimensions, seed=seed)
    return random_directions(
        objective, model, dimensions, seed=seed, normalization=cast(Normalization, normalization)
    )
