"""``thalweg connect``: join two checkpoints by a path below a threshold."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

import thalweg
from thalweg.cli.console import finish, print_facts, print_json, print_sentence
from thalweg.cli.options import (
    DEFAULT_PROFILE_POINTS,
    DataDir,
    Device,
    Json,
    MaxSeconds,
    MaxSteps,
    MemoryLimit,
    ProblemName,
    Seed,
    TaskName,
    Threads,
    Threshold,
    set_threads,
)
from thalweg.cli.output import check_folder, save_connection
from thalweg.cli.problem import Problem, load_problem
from thalweg.cli.progress import Display
from thalweg.connect import Connection, check_threshold, method_names
from thalweg.report import answer, facts

CHECKPOINT = ".safetensors, or a .pt or .pth file that holds a pure state dict."

Certificate = Annotated[
    str | None,
    typer.Option(
        metavar="proved|sampled",
        help="What accepts a segment of the path; default: the task's, which is proved "
        "unless that takes long.",
    ),
]
Fallback = Annotated[
    bool,
    typer.Option(
        help="Sample where an operation of the network has no rule for a proof, and say so."
    ),
]
Align = Annotated[
    bool,
    typer.Option(
        "--align",
        help="First move B by the symmetries of the network to lie near A: what is connected "
        "then is connected up to symmetry.",
    ),
]
Tighten = Annotated[
    bool,
    typer.Option(
        "--tighten",
        help="Make a path that was found shorter, without leaving the level set; the record has "
        "both lengths.",
    ),
]
MaxBeads = Annotated[int, typer.Option(min=0, metavar="N", help="Intermediate models on the path.")]


def connect(
    context: typer.Context,
    a: Annotated[Path, typer.Argument(metavar="A", help=f"One checkpoint: {CHECKPOINT}")],
    b: Annotated[Path, typer.Argument(metavar="B", help="The other.")],
    threshold: Threshold,
    task: TaskName = None,
    problem: ProblemName = None,
    method: Annotated[
        str, typer.Option(metavar="NAME", help=f"One of: {', '.join(method_names())}.")
    ] = "greedy",
    certificate: Certificate = None,
    fallback: Fallback = True,
    alpha: Annotated[
        float | None,
        typer.Option(metavar="X", help="Beads are trained to alpha times L0; default: the task's."),
    ] = None,
    t_star: Annotated[
        str | None,
        typer.Option(
            metavar="half|argmax|middle",
            help="Where a refused segment gets its bead; default: the task's.",
        ),
    ] = None,
    tighten: Tighten = False,
    align: Align = False,
    seed: Seed = 0,
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder of the result; a connection is replaced.")
    ] = Path("connection"),
    max_beads: MaxBeads = thalweg.Budget.beads,
    max_depth: Annotated[
        int, typer.Option(min=0, metavar="N", help="How often a segment may be split.")
    ] = thalweg.Budget.depth,
    max_steps: MaxSteps = thalweg.Budget.steps,
    max_seconds: MaxSeconds = None,
    memory_limit: MemoryLimit = None,
    profile_points: Annotated[
        int, typer.Option(min=0, metavar="N", help="Points of the picture; 0: no picture.")
    ] = DEFAULT_PROFILE_POINTS,
    data_dir: DataDir = None,
    device: Device = None,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Join two trained networks by a path on which the criterion stays at or below a threshold.

    Exit status: 0 connected; 3 not connected, with the path as far as it came saved;
    2 bad input.
    """
    level = check_threshold(threshold)
    check_folder(out)
    set_threads(threads)
    loaded = load_problem(task, problem, data_dir, device)
    chosen = loaded.method(method, alpha=alpha, t_star=t_star)
    budget = thalweg.Budget(
        beads=max_beads, depth=max_depth, steps=max_steps, seconds=max_seconds,
        memory_limit=memory_limit,
    )  # fmt: skip
    with Display("connecting") as display:
        connection = thalweg.connect(
            loaded.objective, a, b, threshold=level, method=chosen,
            certificate=certificate or loaded.certificate, fallback=fallback,
            seed=seed, budget=budget, progress=display.search, align=align, tighten=tighten,
        )  # fmt: skip
    connection = complete(connection, loaded, profile_points, context.obj)
    files = save_connection(connection, out)
    if json:
        print_json(connection.document())
    else:
        show(connection, [("files", f"{out}: {', '.join(files)}")])
    finish(negative=not connection.connected)


def complete(
    connection: Connection, problem: Problem, profile_points: int, command: list[str]
) -> Connection:
    """Add the profile, and to the settings what is needed to check and repeat the search.

    Args:
        connection: as found.
        problem: on which.
        profile_points: of the profile; 0: none.
        command: that was typed.
    """
    if profile_points:
        with Display("profile"):
            profile = thalweg.profile(
                problem.objective, connection.path, profile_points, connection.history
            )
        connection = replace(connection, profile=profile)
    return connection.with_settings(
        **problem.origin, data=problem.objective.fingerprints(), command=shlex.join(command)
    )


def show(connection: Connection, more: Sequence[tuple[str, str]] = ()) -> None:
    """Print the result for a person, and more facts after its own."""
    print_sentence(answer(connection), good=connection.connected)
    print_facts([*facts(connection), *more])
