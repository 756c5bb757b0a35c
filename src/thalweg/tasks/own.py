"""Problems of one's own: a function in a module or a ``.py`` file."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from thalweg.errors import InputError, ThalwegError
from thalweg.objective import Objective


def load_own(text: str) -> tuple[Objective, str]:
    """Call a user's factory of a problem.

    Args:
        text: ``MODULE:FACTORY``, the module importable from the working directory or a ``.py``
            file.

    Returns:
        The objective, and the same text with the path of a file made absolute.

    Raises:
        InputError: if there is no such module or factory, or it does not give an objective.
    """
    objective = call_own(text, "the function that returns the thalweg.Objective")
    if not isinstance(objective, Objective):
        name, _, attribute = text.rpartition(":")
        raise InputError(
            f"expected {attribute}() in {name} to return a thalweg.Objective, got "
            f"{type(objective).__name__}: return thalweg.Objective(model, loss, train=...)"
        )
    return objective, absolute(text)


def absolute(text: str) -> str:
    """The same ``MODULE:FACTORY`` wherever it is looked up from: a file gets its whole path."""
    name, _, attribute = text.rpartition(":")
    return f"{Path(name).resolve()}:{attribute}" if name.endswith(".py") else text


def call_own(text: str, what: str, *arguments: Any) -> Any:
    """Call a user's function.

    Args:
        text: ``MODULE:FUNCTION``, see :func:`load_own`.
        what: the function, for an error that asks for it.
        arguments: that it is called with.

    Returns:
        What it returns.

    Raises:
        InputError: if there is no such function, or it fails.
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
        got = f"a {type(factory).__name__}" if hasattr(module, attribute) else "nothing"
        raise InputError(
            f"expected a function '{attribute}' in {name}, got {got} of that name: name {what}"
        )
    return _run(f"call {attribute}() in {name}", lambda: factory(*arguments))


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
