"""Make a path shorter that was found already: the front door to tightening."""

from __future__ import annotations

from dataclasses import replace

import torch

from thalweg.certify import certifier
from thalweg.connect.budget import Budget, Callback
from thalweg.connect.connection import Connection
from thalweg.connect.driver import Search, run
from thalweg.connect.memory import allot
from thalweg.connect.outcome import Outcome
from thalweg.connect.profile import profile
from thalweg.connect.record import record
from thalweg.connect.tightening import Tightening
from thalweg.errors import InputError
from thalweg.objective import Objective
from thalweg.paths import Bezier

# Segments of the polygon that a curve becomes: it is split further where that is not enough.
_OF_A_CURVE = 16


def tighten(
    objective: Objective,
    connection: Connection,
    *,
    seed: int = 0,
    budget: Budget | None = None,
    progress: Callback | None = None,
    profile_points: int = 0,
) -> Connection:
    """Shorten a path that was found, without leaving the level set.

    Beads that are not needed are left out, and the string is pulled straight as far as the
    threshold allows (:mod:`thalweg.connect.tightening`); every segment of the result has a
    certificate of the same kind as before. Lengths before and after are in the record:
    ``settings["tightened_from"]`` is the normalized length that the path had.

    Args:
        objective: on which it was found.
        connection: a path below its threshold; a Bézier curve becomes a string.
        seed: of minibatches and dropout.
        budget: what may be spent on it.
        progress: see :func:`thalweg.connect`.
        profile_points: see :func:`thalweg.connect`.

    Returns:
        A connection with the same endpoints, whose costs are those of finding and of tightening;
        the same connection where it is not connected, straight, or could not be made shorter.

    Raises:
        InputError: if the path does not fit the objective.

    Example:
        >>> from torch import nn
        >>> from thalweg.connect.api import connect
        >>> x = torch.linspace(-1, 1, 16).reshape(16, 1)
        >>> line = Objective(nn.Linear(1, 1), nn.functional.mse_loss, train=(x, 2 * x))
        >>> ends = torch.tensor([1.9, 0.0]), torch.tensor([2.0, 0.1])
        >>> found = connect(line, *ends, threshold=0.05)
        >>> tighten(line, found).normalized_length
        1.0
    """
    if connection.path.layout.size != objective.layout.size:
        raise InputError(
            f"expected a path of models with {objective.layout.size} parameters, got "
            f"{connection.path.layout.size}: tighten with the objective it was found on"
        )
    before = connection.normalized_length
    shorter = connection
    if connection.connected and connection.beads:
        shorter = _tightened(objective, connection, seed, budget or Budget(), progress)
    if profile_points:
        shown = profile(objective, shorter.path, profile_points, shorter.history)
        shorter = replace(shorter, profile=shown)
    return shorter.with_settings(tightened_from=before)


def _tightened(
    objective: Objective,
    connection: Connection,
    seed: int,
    budget: Budget,
    progress: Callback | None,
) -> Connection:
    points = connection.path.points
    if isinstance(connection.path, Bezier):
        points = connection.path.at(torch.linspace(0, 1, _OF_A_CURVE + 1, dtype=torch.float64))
    stack_bytes = allot(budget.memory_limit, objective.layout).stack
    first, last = (end.criterion for end in connection.endpoints)
    search = Search(
        objective,
        [(connection.path.points[0], connection.path.points[-1], first, last)],
        [connection.threshold],
        certifier=certifier(connection.certificate, stack_bytes=stack_bytes),
        budget=budget, seed=seed, callback=progress,
    )  # fmt: skip
    method = Tightening(points[1:-1])
    run(method, search)
    (string,) = search.strings
    if method.restore(string):  # whatever ended the search
        string.outcome, string.message = Outcome.CONNECTED, string.summary()
    found = record(search, method, connection.certificate, connection.settings.get("fallback"))[0]
    total = {
        "counts": connection.counts + found.counts,
        "seconds": {key: value + found.seconds[key] for key, value in connection.seconds.items()},
        "settings": {**connection.settings, "tightening": method.settings()},
    }
    is_shorter = found.connected and found.length < connection.length
    kept = found if is_shorter else connection
    # Endpoints and outcome say whether one of them was moved by a symmetry.
    return replace(
        kept, method=connection.method, seed=connection.seed, outcome=connection.outcome,
        endpoints=connection.endpoints, **total,
    )  # fmt: skip
