"""``thalweg tasks``: list the named problems."""

from __future__ import annotations

from typing import Any

from thalweg.cli.console import print_json, print_table
from thalweg.cli.options import Json
from thalweg.tasks import Task, get_task, task_names


def tasks(json: Json = False) -> None:
    """List the named problems."""
    listed = [get_task(name) for name in task_names()]
    if json:
        print_json({"tasks": [_document(task) for task in listed]})
        return
    print_table(("task", "what it is", "how it is trained", "thresholds"), map(_row, listed))


def _document(task: Task) -> dict[str, Any]:
    training = task.training
    return {
        "name": task.name,
        "summary": task.summary,
        "source": task.source,
        "architecture": task.architecture,
        "criterion": {"name": task.criterion.name, "split": task.criterion.split},
        "training": {**vars(training), "options": dict(training.options)},
        "thresholds": list(task.thresholds),
        "default_threshold": task.default_threshold,
        "alpha": task.alpha,
        "t_star": task.t_star,
        "certificate": task.certificate,
        "needs_data": task.needs_data,
    }


def _row(task: Task) -> tuple[str, str, str, str]:
    training = task.training
    batch = f"batch {training.batch_size}" if training.batch_size else "full batch"
    if training.sample:
        batch = f"samples from {training.sample} up to the full batch"
    data = "\ndata: --data-dir" if task.needs_data else ""
    return (
        task.name,
        f"{task.summary}\n{task.architecture}\n({task.source}){data}",
        f"{training.optimizer} {training.learning_rate:g}, {batch}\n"
        f"alpha {task.alpha:g}, t* {task.t_star}, {task.certificate}",
        f"{task.criterion.name} on {task.criterion.split}\n"
        f"{', '.join(f'{level:g}' for level in task.thresholds)}\n"
        f"(default {task.default_threshold:g})",
    )
