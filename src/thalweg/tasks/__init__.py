"""Named problems: each gives its model, objective, criterion and training recipe.

A task is one file here that makes a :class:`Task`, and one line in the table below.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from thalweg.errors import InputError
from thalweg.tasks.cifar10 import cifar10_cnn
from thalweg.tasks.datasets import (
    DataError,
    Images,
    data_folder,
    read_cifar10,
    read_idx,
    read_mnist,
    read_ptb,
)
from thalweg.tasks.digits import digits
from thalweg.tasks.mnist import mnist_cnn, mnist_mlp
from thalweg.tasks.own import absolute, call_own, load_own
from thalweg.tasks.planar import mixture_of_teachers, permutation, two_gaussians
from thalweg.tasks.polynomials import cubic, quadratic
from thalweg.tasks.ptb import ptb_lstm
from thalweg.tasks.task import Task, form

__all__ = [
    "DataError",
    "Images",
    "Task",
    "absolute",
    "call_own",
    "cifar10_cnn",
    "cubic",
    "data_folder",
    "digits",
    "get_task",
    "load_own",
    "mixture_of_teachers",
    "mnist_cnn",
    "mnist_mlp",
    "permutation",
    "ptb_lstm",
    "quadratic",
    "read_cifar10",
    "read_idx",
    "read_mnist",
    "read_ptb",
    "task_names",
    "two_gaussians",
]

_FACTORIES: dict[str, Callable[..., Task]] = {
    "permutation": permutation,
    "two-gaussians": two_gaussians,
    "mixture-of-teachers": mixture_of_teachers,
    "quadratic": quadratic,
    "cubic": cubic,
    "digits": digits,
    "mnist-mlp": mnist_mlp,
    "mnist-cnn": mnist_cnn,
    "cifar10-cnn": cifar10_cnn,
    "ptb-lstm": ptb_lstm,
}
# Each has a small form, which trains and connects within a minute on two cores.
_REGISTRY: dict[str, Callable[[], Task]] = {
    form(name, small=small): partial(make, small=small)
    for small in (False, True)
    for name, make in _FACTORIES.items()
}


def task_names() -> tuple[str, ...]:
    """List the names that :func:`get_task` knows, the smallest problem first, small forms last.

    Returns:
        The names.

    Example:
        >>> task_names()[:3]
        ('permutation', 'two-gaussians', 'mixture-of-teachers')
        >>> "mnist-cnn-small" in task_names()
        True
    """
    return tuple(_REGISTRY)


def get_task(name: str, **options: Any) -> Task:
    """Look a task up by its name.

    Args:
        name: one of :func:`task_names`.
        options: what the task can be varied in, such as ``data="quadrature"`` for the polynomials.

    Returns:
        The task. No data is read before its ``build`` is called.

    Raises:
        InputError: if there is no task of this name, or it has no such option.

    Example:
        >>> get_task("mnist-mlp").architecture
        '784-64-10, relu'
    """
    if name not in _REGISTRY:
        raise InputError(
            f"expected the name of a task ({', '.join(_REGISTRY)}), got {name!r}: "
            "choose one of these, or give a problem of your own with --problem"
        )
    make = _REGISTRY[name]
    known = tuple(each for each in inspect.signature(make).parameters if each != "small")
    for option in options:
        if option not in known:
            has = f"the options {', '.join(known)}" if known else "no options"
            raise InputError(f"expected an option of the task '{name}', which has {has}, got "
                             f"'{option}': leave it out")  # fmt: skip
    return make(**options)
