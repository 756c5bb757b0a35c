"""From ``--task`` or ``--problem`` to an objective."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import torch

from thalweg.connect import Method, make_method, option_names
from thalweg.errors import InputError, ThalwegError
from thalweg.objective import Objective
from thalweg.tasks import get_task


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
    task: str | None, problem: str | None, data_dir: Path | None, device: str | None
) -> Problem:
    """Make the objective that the command line names.

    Args:
        task: name of a task; or None.
        problem: ``MODULE:FACTORY``; or None.
        data_dir: folder of the data sets; None: see :func:`thalweg.tasks.data_folder`.
        device: where to compute; None: the CPU.

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
        known = get_task(task)
        check_device(device)
        options = {"alpha": known.alpha, "t_star": known.t_star}
        made = Problem(known.build(data_dir), {"task": task}, options, known.certificate)
    else:
        check_device(device)
        if data_dir is not None:
            # A factory takes no arguments; thalweg.tasks.data_folder looks here.
            os.environ["THALWEG_DATA"] = str(data_dir)
        made = load_factory(cast(str, problem))
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


def load_factory(text: str) -> Problem:
    """Call a user's factory.

    Args:
        text: ``MODULE:FACTORY``, the module importable from the working directory or a ``.py``
            file.

    Raises:
        InputError: if there is no such module or factory, or it does not give an objective.
    """
    name, colon, attribute = text.rpartition(":")
    if not (colon and name and attribute):
        raise InputError(
            f"expected MODULE:FACTORY for --problem, got '{text}': "
            "write for example own_model.py:problem"
        )
    module = _run(f"import {name}", lambda: _module(name))
    factory = getattr(module, attribute, None)
    if not callable(factory):
        what = f"a {type(factory).__name__}" if hasattr(module, attribute) else "nothing"
        raise InputError(
            f"expected a function '{attribute}' in {name}, got {what} of that name: "
            "name the function that returns the thalweg.Objective"
        )
    objective = _run(f"call {attribute}() in {name}", factory)
    if not isinstance(objective, Objective):
        raise InputError(
            f"expected {attribute}() in {name} to return a thalweg.Objective, got "
            f"{type(objective).__name__}: return thalweg.Objective(model, loss, train=...)"
        )
    where = str(Path(name).resolve()) if name.endswith(".py") else name
    return Problem(objective, {"problem": f"{where}:{attribute}"})


def _module(name: str) -> ModuleType:
    if not name.endswith(".py"):
        _importable(Path.cwd())
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                raise  # one that the module itself imports
            raise InputError(
                f"expected a module or a .py file for --problem, got '{name}', which cannot be "
                "found: check the name, and the folder that you are in"
            ) from error
    file = Path(name).resolve()
    if not file.is_file():
        raise InputError(f"expected a Python file at {name}, got none: check the path")
    _importable(Path.cwd())
    _importable(file.parent)  # as `python FILE` would have it
    own_name = f"thalweg_problem_{file.stem}"
    spec = importlib.util.spec_from_file_location(own_name, file)
    if spec is None or spec.loader is None:
        raise InputError(f"expected a Python file at {name}, got one that cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[own_name] = module
    spec.loader.exec_module(module)
    return module


def _importable(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def _run(what: str, call: Callable[[], Any]) -> Any:
    """Run a user's code; whatever goes wrong in it is one sentence."""
    try:
        return call()
    except ThalwegError:
        raise
    except (Exception, SystemExit) as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        reason = " ".join(str(error).split())
        raise InputError(
            f"expected to {what}, got {type(error).__name__}{': ' if reason else ''}{reason} "
            f"({Path(last.filename).name}, line {last.lineno}): correct that code"
        ) from error
