"""The methods by name: those that come with the package, and anybody's own.

A method of one's own is found by its name once :func:`register_method` was called, or where an
installed distribution names it in the entry point group ``thalweg.methods``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any, cast

from thalweg.connect.draxler2018autoneb import AutoNEB
from thalweg.connect.driver import Method
from thalweg.connect.freeman2017breadth import BreadthFirst
from thalweg.connect.freeman2017constrained import Constrained
from thalweg.connect.freeman2017greedy import Greedy
from thalweg.connect.garipov2018curve import BezierCurve, PolygonalChain
from thalweg.connect.goodfellow2015linear import Linear
from thalweg.errors import InputError

GROUP = "thalweg.methods"

Factory = Callable[..., Method]
"""A class of methods, or a function that makes one; its keyword arguments are the options."""

METHODS: dict[str, Factory] = {
    "greedy": Greedy, "constrained": Constrained, "breadth-first": BreadthFirst,
    "autoneb": AutoNEB, "bezier": BezierCurve, "polygonal": PolygonalChain, "linear": Linear,
}  # fmt: skip
"""Methods by the name that records and the command line use."""


def register_method(factory: Factory, name: str | None = None) -> Factory:
    """Make a method known by its name to :func:`thalweg.connect`, ``compare`` and the commands.

    Args:
        factory: a class of methods; may also be used as a decorator.
        name: by which it is called; default: its ``name``.

    Returns:
        The same.

    Raises:
        InputError: if it has no name, or another method has it.

    Example:
        >>> from thalweg.connect.outcome import Outcome
        >>> @register_method
        ... class Nothing:
        ...     name = "nothing"
        ...     def settings(self): return {}
        ...     def init(self, search): pass
        ...     def step(self, search, state):
        ...         for string in search.open:
        ...             search.end(string, Outcome.ABOVE_THRESHOLD, "did not try")
        >>> "nothing" in method_names(), METHODS.pop("nothing") is Nothing
        (True, True)
    """
    called = name or getattr(factory, "name", None)
    if not isinstance(called, str) or not called:
        raise InputError(
            f"expected a method with a name, got {factory!r}: give it an attribute 'name' or pass "
            "name=..."
        )
    if METHODS.get(called, factory) is not factory:
        raise InputError(
            f"expected a name that no method has yet, got '{called}': choose another name"
        )
    METHODS[called] = factory
    return factory


def method_names() -> list[str]:
    """Names of all methods known, those of installed distributions included."""
    return list(dict.fromkeys([*METHODS, *(point.name for point in entry_points(group=GROUP))]))


def make_method(method: str | Method, **options: Any) -> Method:
    """A method by its name.

    Args:
        method: its name; a method itself is handed back.
        options: of the method; those that it does not have are an error.

    Raises:
        InputError: if there is none of that name, or it takes no such options.
    """
    if not isinstance(method, str):
        if isinstance(method, type) or not hasattr(method, "step"):
            raise InputError(
                f"expected a method's name or a method such as Greedy(), got {method!r}"
            )
        return method
    factory = _factory(method)
    unknown = sorted(set(options) - set(option_names(method)))
    if unknown:
        raise InputError(
            f"expected options that '{method}' has, got '{unknown[0]}': it takes "
            f"{', '.join(option_names(method)) or 'none'}"
        )
    return factory(**options)


def option_names(method: str) -> list[str]:
    """Names of the options of a method.

    Args:
        method: its name.

    Raises:
        InputError: if there is none of that name.
    """
    return [name for name in inspect.signature(_factory(method)).parameters if name != "name"]


def _factory(name: str) -> Factory:
    if name in METHODS:
        return METHODS[name]
    for point in entry_points(group=GROUP, name=name):
        return cast(Factory, point.load())
    raise InputError(f"expected a method among {', '.join(method_names())}, got '{name}'")
