"""From ``--task`` or ``--problem`` to an objective."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import torch

from thalweg.connect import Method, make_method, option_names
from thalweg.errors import InputError
from thalweg.objective import Objective
from thalweg.tasks import get_task, load_own


@dataclass(frozen=True)
class Problem:
    """What is to be worked on.

    Attributes:
        objective: model, loss, data and criterion.
        origin: for the record: ``{"task": NAME}`` or ``{"problem": MODULE:FACTORY}``.
        options: of the method, as the task recommends them.
        certificate: kind that is asked for where nobody names one.
    """

    objective: Objective
    origin: dict[str, str]
    options: dict[str, Any] = field(default_factory=dict)
    certificate: str = "proved"

    def method(self, name: str, **given: object) -> Method:
        """A method by its name, with the options given before those that the task recommends.

        Args:
            name: see :func:`thalweg.connect.method_names`.
            given: options; those that are None count as not given.

        Raises:
            InputError: if there is no such method, it does not have an option that is given, or
                an option is out of range.
        """
        known = option_names(name)
        recommended = {key: value for key, value in self.options.items() if key in known}
        options = {**recommended, **{k: v for k, v in given.items() if v is not None}}
        return make_method(name, **options)


def load_problem(
    task: str | None,
    problem: str | None,
    data_dir: Path | None,
    device: str | None,
    options: Mapping[str, Any] | None = None,
) -> Problem:
    """Make the objective that the command line names.

    Args:
        task: name of a task; or None.
        problem: ``MODULE:FACTORY``; or None.
        data_dir: folder of the data sets; None: see :func:`thalweg.tasks.data_folder`.
        device: where to compute; None: the CPU.
        options: of the task.

    Raises:
        InputError: if not exactly one of the two is named, or it cannot be made.
    """
    if (task is None) == (problem is None):
        got = "neither" if task is None else "both"
        raise InputError(
            f"expected one of --task and --problem, got {got}: name a task (see thalweg tasks) "
            "or a factory of your own as MODULE:FACTORY"
        )
    if task is not None:
        known = get_task(task, **(options or {}))
        check_device(device)
        of_method = {"alpha": known.alpha, "t_star": known.t_star}
        made = Problem(known.build(data_dir), {"task": task}, of_method, known.certificate)
    else:
        check_device(device)
        if data_dir is not None:
            # A factory takes no arguments; thalweg.tasks.data_folder looks here.
            os.environ["THALWEG_DATA"] = str(data_dir)
        objective, where = load_own(cast(str, problem))
        made = Problem(objective, {"problem": where})
    if device is None or device == "cpu":
        return made
    return replace(made, objective=made.objective.to(device))


def check_device(device: str | None) -> None:
    """Refuse a device that this machine or this PyTorch does not have.

    Args:
        device: its name; None: the CPU.

    Raises:
        InputError: if it cannot be computed on.
    """
    if device is None:
        return
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
        raise InputError(
            f"expected a device that PyTorch can use here, got '{device}' ({reason}): "
            "choose another, such as cpu"
        ) from error
