"""Compare methods on one pair: the same endpoints, certificate and currency for all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from thalweg.connect.api import connect
from thalweg.connect.budget import Budget, Callback
from thalweg.connect.connection import Connection
from thalweg.connect.driver import Method
from thalweg.connect.methods import make_method, method_names
from thalweg.objective import Objective
from thalweg.parameters import Source


def compare(
    objective: Objective,
    model_a: Source,
    model_b: Source,
    *,
    threshold: float,
    methods: Sequence[str | Method] | None = None,
    budget: Budget | None = None,
    started: Callable[[str], Callback | None] | None = None,
    **options: Any,
) -> list[Connection]:
    """Connect one pair of models by several methods, one after the other.

    What the methods cost is counted in gradient samples and criterion samples, whatever the
    machine; every path is held against the same certificate.
    :func:`thalweg.plots.compute_comparison` makes a table of the result.

    Args:
        objective: model, loss, data and criterion.
        model_a: one endpoint.
        model_b: the other.
        threshold: L0, in the units of the criterion.
        methods: names, or methods with their options; None: all that are known.
        budget: what each method may spend.
        started: called with the name of each method before it begins; may return a progress
            callback for it.
        options: of :func:`connect`, the same for all methods.

    Returns:
        One connection a method, in order; its outcome says how it went.

    Raises:
        InputError: if a method is unknown, or see :func:`connect`.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> x = torch.linspace(-1, 1, 16).reshape(16, 1)
        >>> line = Objective(nn.Linear(1, 1), nn.functional.mse_loss, train=(x, 2 * x))
        >>> ends = torch.tensor([1.9, 0.0]), torch.tensor([2.0, 0.1])
        >>> found = compare(line, *ends, threshold=0.05, methods=["linear", "greedy"])
        >>> [(each.method, each.beads) for each in found]
        [('linear', 0), ('greedy', 0)]
    """
    # All are made before any is run: a name that is wrong is known at once.
    chosen = [make_method(method) for method in (methods or method_names())]
    a, b = objective.theta(model_a, "endpoint A"), objective.theta(model_b, "endpoint B")
    return [
        connect(
            objective, a, b, threshold=threshold, method=method, budget=budget,
            progress=started(method.name) if started else None, **options,
        )
        for method in chosen
    ]  # fmt: skip
