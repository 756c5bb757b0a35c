"""From the problem of a study to an objective and a way to draw untrained models."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn

from thalweg.errors import InputError
from thalweg.objective import Objective, Training
from thalweg.study.spec import Problem
from thalweg.tasks import call_own, get_task, load_own


@dataclass(frozen=True)
class Facts:
    """What a study must know of a problem before anything is computed.

    Attributes:
        alpha: models are trained to ``alpha`` times the threshold.
        t_star: where a refused segment gets its bead.
        certificate: kind that is asked for where nobody names one.
        training: recipe.
        thresholds: levels of interest; empty where there are none.
    """

    alpha: float
    t_star: str
    certificate: str
    training: Training
    thresholds: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Built:
    """A problem that can be computed with.

    Attributes:
        objective: model, loss, data, criterion.
        draw: an untrained model of a seed, `[p]`.
        origin: of records: which task or problem, with which options.
    """

    objective: Objective
    draw: Callable[[int], Tensor]
    origin: dict[str, Any]


def facts(problem: Problem, data_dir: Path | None = None) -> Facts:
    """What is known of a problem; a task's data are not read for it.

    Args:
        problem: of a study.
        data_dir: folder of the data sets.

    Raises:
        InputError: if there is no such task or problem.

    Example:
        >>> facts(Problem(task="quadratic")).alpha
        0.95
    """
    if problem.task is None:
        training = build(problem, data_dir).objective.training
        return Facts(problem.alpha or 0.95, "half", "proved", training, ())
    task = get_task(problem.task, **problem.options)
    return Facts(
        problem.alpha or task.alpha, task.t_star, task.certificate, task.training, task.thresholds
    )


def build(problem: Problem, data_dir: Path | None = None, device: str | None = None) -> Built:
    """Make the objective of a problem; the last ones made are remembered.

    Args:
        problem: of a study.
        data_dir: folder of the data sets.
        device: where to compute; None: the CPU.

    Raises:
        InputError: if it cannot be made.
    """
    # What a problem is called, and its levels, make no difference to the objective.
    same = problem.model_copy(update={"label": None, "thresholds": (1.0,), "checkpoints": ()})
    return _build(same.model_dump_json(), data_dir, device)


@lru_cache(maxsize=4)
def _build(content: str, data_dir: Path | None, device: str | None) -> Built:
    problem = Problem.model_validate_json(content)
    if problem.task is not None:
        task = get_task(problem.task, **problem.options)
        objective = task.build(data_dir)
        initialize, origin = task.initialize, {"task": problem.task}
        if problem.options:
            origin["task_options"] = dict(problem.options)  # pyright: ignore[reportArgumentType]
    else:
        objective, where = load_own(str(problem.problem))
        initialize, origin = _own_draw(problem, objective), {"problem": where}
    if device not in (None, "cpu"):
        objective = objective.to(str(device))

    def draw(seed: int) -> Tensor:
        return objective.theta(initialize(Generator().manual_seed(seed)))

    return Built(objective, draw, origin)


def _own_draw(problem: Problem, objective: Objective) -> Callable[[Generator], nn.Module]:
    named = problem.initialize
    if named is not None:

        def initialize(generator: Generator) -> nn.Module:
            made = call_own(named, "the function that returns an untrained model", generator)
            if not isinstance(made, nn.Module):
                raise InputError(
                    f"expected {named} to return a module, got {type(made).__name__}: return the "
                    "untrained model, drawn from the generator that it is given"
                )
            return made

        return initialize
    return lambda generator: _reset(objective.model, generator)


def _reset(model: nn.Module, generator: Generator) -> nn.Module:
    """A copy of a model with all its parameters drawn anew, as its modules draw them."""
    drawn = copy.deepcopy(model).cpu()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator.initial_seed())
        for name, module in drawn.named_modules():
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
            elif any(True for _ in module.parameters(recurse=False)):
                raise InputError(
                    f"expected every module with parameters to have reset_parameters(), got "
                    f"'{name or type(module).__name__}' without: name a function that draws an "
                    "untrained model with initialize = 'MODULE:FUNCTION'"
                )
    return drawn
