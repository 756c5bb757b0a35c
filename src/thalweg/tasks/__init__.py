"""Named problems: each gives its model, objective, criterion and training recipe.

A task is one file here that makes a :class:`Task`, and one line in the registry below.
"""

from __future__ import annotations

from collections.abc import Callable

from thalweg.errors import InputError
from thalweg.tasks.datasets import DataError, Images, data_folder, read_idx, read_mnist
from thalweg.tasks.digits import digits
from thalweg.tasks.mnist import mnist_cnn, mnist_mlp
from thalweg.tasks.polynomials import cubic, quadratic
from thalweg.tasks.task import Task

__all__ = [
    "DataError",
    "Images",
    "Task",
    "cubic",
    "data_folder",
    "digits",
    "get_task",
    "mnist_cnn",
    "mnist_mlp",
    "quadratic",
    "read_idx",
    "read_mnist",
    "task_names",
]

_REGISTRY: dict[str, Callable[[], Task]] = {
    "quadratic": quadratic,
    "cubic": cubic,
    "digits": digits,
    "mnist-mlp": mnist_mlp,
    "mnist-cnn": mnist_cnn,
}


def task_names() -> tuple[str, ...]:
    """List the names that :func:`get_task` knows, the smallest problem first.

    Returns:
        The names.

    Example:
        >>> task_names()
        ('quadratic', 'cubic', 'digits', 'mnist-mlp', 'mnist-cnn')
    """
    return tuple(_REGISTRY)


def get_task(name: str) -> Task:
    """Look a task up by its name.

    Args:
        name: one of :func:`task_names`.

    Returns:
        The task. No data is read before its ``build`` is called.

    Raises:
        InputError: if there is no task of this name.

    Example:
        >>> get_task("mnist-mlp").architecture
        '784-64-10, relu'
    """
    if name not in _REGISTRY:
        raise InputError(
            f"expected the name of a task ({', '.join(_REGISTRY)}), got {name!r}: "
            "choose one of these, or give a problem of your own with --problem"
        )
    return _REGISTRY[name]()
