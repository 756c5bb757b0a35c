"""``thalweg basin``: how far around a model the criterion stays below a level."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, cast

import typer

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
from thalweg.cli.problem import load_problem
from thalweg.cli.progress import Display
from thalweg.geometry import NORMALIZATIONS, Basin, Normalization
from thalweg.geometry import basin as take_basin


def basin(
    checkpoint: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="In the basin.")],
    level: Annotated[
        float, typer.Option(metavar="L", help="Of the criterion: where the basin ends.")
    ],
    task: TaskName = None,
    problem: ProblemName = None,
    directions: Annotated[
        int, typer.Option(min=1, metavar="N", help="Random lines through the model.")
    ] = 32,
    normalization: Annotated[
        str,
        typer.Option(metavar="|".join(NORMALIZATIONS), help="Of the directions."),
    ] = "none",
    reach: Annotated[
        float | None,
        typer.Option(metavar="R", help="How far to look; default: the norm of the model."),
    ] = None,
    seed: Seed = 0,
    data_dir: DataDir = None,
    device: Device = None,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Measure the basin of a model: radii along random lines, asymmetry, volume.

    Exit status: 0 done; 2 bad input, such as a model above the level.
    """
    set_threads(threads)
    objective = load_problem(task, problem, data_dir, device).objective
    with Display("basin"):
        found = take_basin(
            objective, checkpoint, level, directions=directions,
            normalization=cast(Normalization, normalization),  # looked at there
            reach=reach, seed=seed,
        )  # fmt: skip
    if json:
        print_json(found.document())
    else:
        show(found, objective.criterion.name)


def show(found: Basin, criterion: str) -> None:
    """Print a basin for a person."""
    beyond = int(found.radii.isinf().sum())
    unit = "" if found.normalization == "none" else " of the model's own size"
    size = f"{found.radius:.4g}{unit}" if math.isfinite(found.radius) else "not reached"
    print_sentence(
        f"The basin below {criterion} {found.level:g} has a median radius of {size}.",
        good=math.isfinite(found.radius),
    )
    facts = [
        ("at the model", f"{found.value:.6g}"),
        ("radii", f"{float(found.radii.min()):.4g} to {float(found.radii.max()):.4g}, along "
                  f"{len(found.radii)} lines, both ways"),
        ("asymmetry", f"{found.asymmetry:.4g}, the longer side over the shorter, median"),
    ]  # fmt: skip
    if beyond:
        facts.append(("beyond the reach", f"{beyond} radii exceed {found.reach:.4g}"))
    if found.normalization == "none":
        value, error = found.log_volume
        facts.append(
            ("log volume", f"at least {value:.6g} ± {error:.3g}, in {found.size:,} dimensions")
        )
    print_facts(facts)
