"""``thalweg compare``: several methods on one pair of checkpoints, with the same certificate."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

import thalweg
from thalweg.cli.connect import (
    CHECKPOINT,
    Align,
    Certificate,
    Fallback,
    MaxBeads,
    Tighten,
    complete,
)
from thalweg.cli.console import print_facts, print_json, print_table
from thalweg.cli.options import (
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
from thalweg.cli.output import check_comparison, save_comparison
from thalweg.cli.problem import load_problem
from thalweg.cli.progress import Display
from thalweg.connect import Callback, check_threshold, method_names
from thalweg.report import MEANING, comparison_rows, criterion


def compare(
    context: typer.Context,
    a: Annotated[Path, typer.Argument(metavar="A", help=f"One checkpoint: {CHECKPOINT}")],
    b: Annotated[Path, typer.Argument(metavar="B", help="The other.")],
    threshold: Threshold,
    task: TaskName = None,
    problem: ProblemName = None,
    methods: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,NAME,...",
            help="Methods to compare; default: all that are known, your own included.",
        ),
    ] = None,
    certificate: Certificate = None,
    fallback: Fallback = True,
    align: Align = False,
    tighten: Tighten = False,
    seed: Seed = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder for the picture, and for the connection of every method.",
        ),
    ] = None,
    max_beads: MaxBeads = thalweg.Budget.beads,
    max_steps: MaxSteps = thalweg.Budget.steps,
    max_seconds: MaxSeconds = None,
    memory_limit: MemoryLimit = None,
    data_dir: DataDir = None,
    device: Device = None,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Connect one pair by several methods, on equal terms: one table and one picture.

    All have the same endpoints, the same certificate and the same budget, each for itself; cost
    is counted in gradient samples and criterion samples, whatever the machine.
    """
    level = check_threshold(threshold)
    if out is not None:
        check_comparison(out)
    set_threads(threads)
    loaded = load_problem(task, problem, data_dir, device)
    names = _names(methods)
    chosen = [loaded.method(name) for name in names]
    budget = thalweg.Budget(
        beads=max_beads, steps=max_steps, seconds=max_seconds, memory_limit=memory_limit
    )
    with ExitStack() as displays:

        def started(name: str) -> Callback:
            displays.close()
            return displays.enter_context(Display(f"connecting by {name}")).search

        found = thalweg.compare(
            loaded.objective, a, b, threshold=level, methods=chosen,
            certificate=certificate or loaded.certificate, fallback=fallback, seed=seed,
            budget=budget, started=started, align=align, tighten=tighten,
        )  # fmt: skip
    found = [complete(connection, loaded, 0, context.obj) for connection in found]
    files = [] if out is None else save_comparison(found, out)
    if json:
        print_json({"connections": [connection.document() for connection in found]})
        return
    header, *rows = comparison_rows(found)
    print_table(header, rows, lines=False)
    kind = found[0].certificate
    print_facts([
        ("held against", f"{criterion(found[0])} at or below {level:g} on the whole path"),
        ("bounds", f"{kind}: {MEANING[kind]}"),
        ("length", "normalized: 1 is the straight line"),
        *([("files", f"{out}: {', '.join(files)}")] if files else []),
    ])  # fmt: skip


def _names(methods: str | None) -> Sequence[str]:
    if methods is None:
        return method_names()
    return [name.strip() for name in methods.split(",")]
