"""``thalweg edge``: full-batch gradient descent at the edge of stability."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import torch
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
from thalweg.documents import finite
from thalweg.errors import InputError
from thalweg.geometry import Descent, edge_of_stability
from thalweg.tasks import get_task


def edge(
    learning_rates: Annotated[
        str, typer.Option(metavar="X,Y,…", help="Steps η of gradient descent, one descent each.")
    ],
    task: TaskName = None,
    problem: ProblemName = None,
    steps: Annotated[int, typer.Option(min=1, metavar="N", help="Of each descent.")] = 2000,
    every: Annotated[
        int, typer.Option(min=1, metavar="N", help="Steps from one look to the next.")
    ] = 20,
    examples: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Of the training data; default: all of them."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Picture to draw: .png, .svg, .pdf.")
    ] = None,
    seed: Seed = 0,
    data_dir: DataDir = None,
    device: Device = None,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Follow the largest eigenvalue of the Hessian while gradient descent trains a model.

    It rises to 2/η, beyond which gradient descent is unstable, and stays there (Cohen et al. 2021).
    All descents start at one model: a new one of the task, drawn by the seed, or the problem's own.
    """
    rates = parse_rates(learning_rates)
    if out is not None:
        # Imported here: matplotlib takes a second, which nobody else should wait for.
        from thalweg.plots import check_format

        check_format(out)
    set_threads(threads)
    objective = load_problem(task, problem, data_dir, device).objective
    start = objective.model
    if task is not None:
        start = get_task(task).initialize(torch.Generator().manual_seed(seed))
    if examples is not None:
        objective = objective.with_examples({objective.training.split: examples})
    with Display("descending") as display:
        found = edge_of_stability(
            objective, start, rates, steps, every=every, progress=display.steps_of
        )
    if out is not None:
        from thalweg.plots.edge import save_edge

        save_edge(found, out)
    if json:
        print_json({"descents": [describe(descent) for descent in found]})
    else:
        show(found, out)


def parse_rates(text: str) -> list[float]:
    """Learning rates from a list with commas.

    Args:
        text: such as ``0.2,0.1``.

    Raises:
        InputError: if it is none.
    """
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise InputError(
            f"expected learning rates such as 0.2,0.1 for --learning-rates, got '{text}'"
        ) from error


def describe(descent: Descent) -> dict[str, Any]:
    """A descent as part of a JSON document."""
    return {
        **asdict(descent),
        "sharpness": [finite(value) for value in descent.sharpness],
        "losses": [finite(value) for value in descent.losses],
        "threshold": descent.threshold,
        "reached": descent.reached,
        "hovering": descent.hovering,
    }


def show(found: tuple[Descent, ...], out: Path | None) -> None:
    """Print descents for a person."""
    at_edge = sum(descent.reached is not None for descent in found)
    print_sentence(
        f"{at_edge} of {len(found)} descents reached the edge of stability, 2/η.", good=at_edge > 0
    )
    facts = []
    for descent in found:
        text = f"2/η = {descent.threshold:.4g} not reached"
        if descent.reached is not None:
            text = (
                f"2/η = {descent.threshold:.4g} reached at step {descent.reached:,}, "
                f"{descent.hovering:.3f} times that on average from there on"
            )
        text += ", diverged" if descent.diverged else f", loss {descent.losses[-1]:.4g}"
        facts.append((f"η = {descent.learning_rate:g}", text))
    if out is not None:
        facts.append(("picture", str(out)))
    print_facts(facts)
