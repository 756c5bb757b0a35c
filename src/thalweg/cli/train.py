"""``thalweg train``: train a network of a task to a level."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

import thalweg
from thalweg.cli.console import print_facts, print_json, print_sentence
from thalweg.cli.options import (
    DataDir,
    Device,
    Json,
    MaxSeconds,
    MaxSteps,
    Seed,
    Threads,
    Threshold,
    set_threads,
)
from thalweg.cli.output import check_file
from thalweg.cli.problem import load_problem
from thalweg.cli.progress import Display
from thalweg.connect import Trained, check_threshold, versions
from thalweg.objective import Objective
from thalweg.tasks import Task, get_task


def train(
    task: Annotated[str, typer.Argument(metavar="TASK", help="See thalweg tasks.")],
    threshold: Threshold,
    out: Annotated[Path, typer.Option(metavar="FILE.safetensors", help="Checkpoint to write.")],
    seed: Seed = 0,
    max_steps: MaxSteps = thalweg.Budget.steps,
    max_seconds: MaxSeconds = None,
    data_dir: DataDir = None,
    device: Device = None,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Train a network of a task until its criterion is below a threshold.

    It is trained to alpha times the threshold, alpha being the task's (see thalweg tasks): an
    endpoint that lies somewhat below the level leaves a path room to begin.
    """
    level = check_threshold(threshold)
    check_file(out, ".safetensors")
    set_threads(threads)
    problem = load_problem(task, None, data_dir, device)
    known = get_task(task)
    budget = thalweg.Budget(steps=max_steps, seconds=max_seconds)
    begin = time.monotonic()
    with Display(f"training {task}") as display:
        trained = run(known, problem.objective, level, seed, budget, display.steps)
    save(out, known, problem.objective, trained, level, seed)
    document = {
        **describe(known, trained, level, seed),
        "seconds": time.monotonic() - begin,
        "file": str(out),
        "device": str(problem.objective.device),
        "threads": torch.get_num_threads(),
        "versions": versions(),
    }
    if json:
        print_json(document)
        return
    print_sentence(f"Trained: {_criterion(known)} is {trained.criterion:.6g}.", good=True)
    print_facts(
        [
            ("target", f"{known.alpha * level:g}: {known.alpha:g} of the threshold {level:g}"),
            ("steps", f"{trained.steps:,} in {document['seconds']:.1f} s"),
            ("file", str(out)),
        ]
    )


def run(
    task: Task,
    objective: Objective,
    threshold: float,
    seed: int,
    budget: thalweg.Budget | None = None,
    progress: Callable[[int], None] | None = None,
) -> Trained:
    """Train a new model of the task, drawn and trained by the seed."""
    theta = objective.theta(task.initialize(torch.Generator().manual_seed(seed)))
    target = task.alpha * threshold
    return thalweg.train(objective, [theta], target, seed=seed, budget=budget, progress=progress)[0]


def save(
    file: Path, task: Task, objective: Objective, trained: Trained, threshold: float, seed: int
) -> None:
    """Write a trained model, with where it comes from in the metadata."""
    metadata = {
        "task": task.name,
        "seed": str(seed),
        "threshold": str(threshold),
        _criterion(task): str(trained.criterion),
        **versions(),
    }
    thalweg.save_checkpoint(file, objective.state_dict(trained.theta), metadata)


def describe(task: Task, trained: Trained, threshold: float, seed: int) -> dict[str, Any]:
    """A trained model as part of a JSON document."""
    return {
        "task": task.name,
        "seed": seed,
        "threshold": threshold,
        "target": task.alpha * threshold,
        "criterion": {
            "name": task.criterion.name,
            "split": task.criterion.split,
            "value": trained.criterion,
        },
        "steps": trained.steps,
        "gradient_samples": trained.gradient_samples,
        "criterion_samples": trained.criterion_samples,
    }


def _criterion(task: Task) -> str:
    return f"{task.criterion.name} on {task.criterion.split}"
