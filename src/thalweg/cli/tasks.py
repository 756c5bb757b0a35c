"""``thalweg tasks``: list the named problems, or explain how one is computed."""

from __future__ import annotations

from typing import Annotated, Any

import torch
import typer

from thalweg.cli.console import print_json, print_table, say
from thalweg.cli.options import (
    DataDir,
    Device,
    Json,
    ProblemName,
    Threads,
    set_threads,
)
from thalweg.cli.problem import Problem, load_problem
from thalweg.errors import InputError
from thalweg.objective import Explanation, explain
from thalweg.tasks import Task, get_task, task_names


def tasks(
    task: Annotated[
        str | None, typer.Argument(metavar="[TASK]", help="One task; otherwise all of them.")
    ] = None,
    explained: Annotated[
        bool,
        typer.Option(
            "--explain",
            help="Measure the strategies that evaluate and differentiate stacks of models of this "
            "task or problem, and say which is used.",
        ),
    ] = False,
    problem: ProblemName = None,
    data_dir: DataDir = None,
    device: Device = None,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """List the named problems, or explain how one is computed fastest on this machine."""
    if explained:
        set_threads(threads)
        show_strategies(load_problem(task, problem, data_dir, device), json=json)
        return
    if problem is not None:
        raise InputError("expected --explain with --problem, got --problem alone: add --explain")
    listed = [get_task(name) for name in ([task] if task else task_names())]
    if json:
        print_json({"tasks": [_document(each) for each in listed]})
        return
    print_table(("task", "what it is", "how it is trained", "thresholds"), map(_row, listed))


def show_strategies(problem: Problem, *, json: bool) -> None:
    """Measure and print how stacks of models are carried out.

    Args:
        problem: whose.
        json: as one JSON document.
    """
    objective = problem.objective
    say("measuring strategies for stacks of 1, 8 and 64 models ...")
    found = explain(objective)
    threads = torch.get_num_threads()
    if json:
        print_json({
            **problem.origin,
            "objective": objective.name,
            "parameters": objective.layout.size,
            "device": str(objective.device),
            "threads": threads,
            "work": [_explanation(each) for each in found],
        })  # fmt: skip
        return
    columns = ("work", "models", "strategy", "models together", "examples a chunk",
               "ns a model-example")  # fmt: skip
    print_table(columns, map(_strategy_row, found))


def _explanation(explanation: Explanation) -> dict[str, Any]:
    return {
        "kind": explanation.work,
        "models": explanation.models,
        "chosen": vars(explanation.plan),
        "measured": [
            {**vars(plan), "nanoseconds": 1e9 * seconds}
            for plan, seconds in explanation.measured.items()
        ],
    }


def _strategy_row(explanation: Explanation) -> tuple[str, ...]:
    plan, measured = explanation.plan, explanation.measured
    best: dict[str, float] = {}
    for tried, seconds in measured.items():
        best[tried.strategy] = min(seconds, best.get(tried.strategy, seconds))
    best[plan.strategy] = measured[plan]
    return (
        explanation.work, str(explanation.models), plan.strategy, str(plan.models),
        f"{plan.examples:,}",
        "\n".join(f"{name} {1e9 * seconds:,.0f}" for name, seconds in best.items()),
    )  # fmt: skip


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
