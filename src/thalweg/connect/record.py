"""From the end of a search to the records of its connections."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch import Tensor

from thalweg.connect.connection import Connection, Counts, endpoint
from thalweg.connect.driver import Method, Search
from thalweg.connect.outcome import Outcome
from thalweg.connect.string import String
from thalweg.paths import Bezier, Polygonal


def record(
    search: Search, method: Method, certificate: str, fallback: str | None
) -> list[Connection]:
    """One connection for every string of a search.

    Args:
        search: at its end.
        method: that was run.
        certificate: kind that accepted the segments.
        fallback: why it is not the kind that was asked for; None: it is.

    Returns:
        The connections, without profiles.
    """
    objective = search.objective
    settings = {
        **method.settings(),
        "budget": vars(search.budget).copy(),
        "training": {**vars(objective.training), "options": dict(objective.training.options)},
        "plans": objective.plans,
        "device": str(objective.device),
        "threads": torch.get_num_threads(),
        "fallback": fallback,
    }
    points = search.store.stacks([string.numbers for string in search.strings])
    return [
        _connection(search, string, own, method.name, certificate, settings)
        for string, own in zip(search.strings, points, strict=True)
    ]


def versions() -> dict[str, str]:
    """Versions of the software that decides a result."""
    try:
        own = version("thalweg")
    except PackageNotFoundError:
        own = "not installed"
    return {"thalweg": own, "torch": torch.__version__, "python": platform.python_version()}


def _connection(
    search: Search,
    string: String,
    points: Tensor,
    method: str,
    certificate: str,
    settings: dict[str, Any],
) -> Connection:
    objective = search.objective
    why_not = settings["fallback"]
    sampled = f" (certificates are sampled, not proved: {why_not})" if why_not else ""
    first, last = (string.values[number] for number in (string.numbers[0], string.numbers[-1]))
    return Connection(
        outcome=string.outcome or Outcome.BUDGET_EXHAUSTED,
        message=string.message + sampled,
        path=(Bezier if string.curved else Polygonal)(points, objective.layout),
        segments=search.segments(string),
        threshold=string.threshold,
        criterion={"name": objective.criterion.name, "split": objective.criterion.split},
        method=method,
        certificate=certificate,
        endpoints=(endpoint(first, points[0]), endpoint(last, points[-1])),
        counts=string.counts + Counts(
            criterion_evaluations=2,
            criterion_samples=2 * len(objective.splits[objective.criterion.split]),
        ),
        seconds={"training": string.training, "certifying": string.certifying,
                 "total": search.seconds},
        seed=search.seed,
        settings=settings,
        versions=versions(),
        history=string.history,
    )  # fmt: skip
