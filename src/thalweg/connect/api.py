"""Connect trained models: the front door to all methods."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from thalweg.certify import certifier, unsupported
from thalweg.connect.aligned import move_ends, say_moved
from thalweg.connect.budget import Budget, Callback
from thalweg.connect.connection import Connection
from thalweg.connect.driver import Method, Search, run
from thalweg.connect.memory import allot
from thalweg.connect.methods import make_method
from thalweg.connect.outcome import Outcome
from thalweg.connect.profile import profile
from thalweg.connect.record import record
from thalweg.connect.shorten import tighten as shorten
from thalweg.errors import InputError
from thalweg.objective import Objective
from thalweg.parameters import Source

# Relative distance to the threshold at which rounding hides on which side of it a value lies.
_ROUNDING = 1e-9


def connect(
    objective: Objective,
    model_a: Source,
    model_b: Source,
    *,
    threshold: float,
    method: str | Method = "greedy",
    certificate: str = "proved",
    fallback: bool = True,
    seed: int = 0,
    budget: Budget | None = None,
    progress: Callback | None = None,
    profile_points: int = 0,
    align: bool | str = False,
    tighten: bool = False,
) -> Connection:
    """Find a path between two models on which the criterion stays at or below a threshold.

    Args:
        objective: model, loss, data and criterion.
        model_a: one endpoint: a module, state dict, flat vector `[p]` or checkpoint file.
        model_b: the other.
        threshold: L0, in the units of the criterion.
        method: a name, or a method with its options, such as ``Greedy(alpha=0.98)``.
        certificate: kind of certificate that accepts a segment.
        fallback: where a proof is wanted and an operation of the network has no rule, use sampled
            certificates and say so in the message; otherwise that is an error.
        seed: of minibatches and dropout.
        budget: what may be spent.
        progress: called with a :class:`~thalweg.connect.Progress` now and then.
        profile_points: evaluate loss and criterion on every split at so many points of the path;
            0: not at all.
        align: move model B by the symmetries of the network to lie near A before the search
            (:func:`thalweg.align`): True or ``"weights"``, or ``"activations"``.
        tighten: make a path that was found shorter (:func:`thalweg.tighten`).

    Returns:
        The connection; its outcome says how the search ended.

    Raises:
        InputError: if an endpoint does not fit the objective or lies above the threshold, or the
            memory limit of the budget is too small for one model in training.

    Example:
        >>> from torch import nn
        >>> x = torch.linspace(-1, 1, 16).reshape(16, 1)
        >>> objective = Objective(nn.Linear(1, 1), nn.functional.mse_loss, train=(x, 2 * x))
        >>> a, b = torch.tensor([1.9, 0.0]), torch.tensor([2.0, 0.1])
        >>> connection = connect(objective, a, b, threshold=0.05)
        >>> str(connection.outcome), connection.beads, connection.normalized_length
        ('connected', 0, 1.0)
    """
    return connect_pairs(
        objective, [(model_a, model_b)], threshold=threshold, method=method,
        certificate=certificate, fallback=fallback, seed=seed, budget=budget, progress=progress,
        profile_points=profile_points, align=align, tighten=tighten,
    )[0]  # fmt: skip


def connect_pairs(
    objective: Objective,
    pairs: Sequence[tuple[Source, Source]],
    *,
    threshold: float | Sequence[float],
    method: str | Method = "greedy",
    certificate: str = "proved",
    fallback: bool = True,
    seed: int = 0,
    budget: Budget | None = None,
    progress: Callback | None = None,
    profile_points: int = 0,
    align: bool | str = False,
    tighten: bool = False,
) -> list[Connection]:
    """Connect many pairs at once: the beads of all of them train as one pool.

    Args:
        objective: model, loss, data and criterion.
        pairs: endpoints of each pair.
        threshold: L0, one for all pairs or one each.
        method: see :func:`connect`.
        certificate: see :func:`connect`.
        fallback: see :func:`connect`.
        seed: of minibatches and dropout, which all beads share.
        budget: for the whole search; its limits on beads and depth hold for each string.
        progress: see :func:`connect`.
        profile_points: see :func:`connect`.
        align: see :func:`connect`.
        tighten: see :func:`connect`.

    Returns:
        One connection a pair, in order.

    Raises:
        InputError: see :func:`connect`.
    """
    budget = budget or Budget()
    chosen = make_method(method)
    stack_bytes = allot(budget.memory_limit, objective.layout).stack
    checker = certifier(certificate, stack_bytes=stack_bytes)
    thresholds = _thresholds(threshold, len(pairs))
    ends = [
        (objective.theta(a, _label("A", i, pairs)), objective.theta(b, _label("B", i, pairs)))
        for i, (a, b) in enumerate(pairs)
    ]
    ends, moves = move_ends(objective, pairs, ends, align, seed)
    values = [_endpoint_values(objective, pair) for pair in ends]
    for i, (pair, level) in enumerate(zip(values, thresholds, strict=True)):
        _check_below(objective, pair, level, i, pairs)
    why_not = _unprovable(objective, ends, values, thresholds) if certificate == "proved" else None
    if why_not is not None:
        if not fallback:
            raise why_not
        certificate, checker = "sampled", certifier("sampled", stack_bytes=stack_bytes)
    search = Search(
        objective,
        [(a, b, va, vb) for (a, b), (va, vb) in zip(ends, values, strict=True)],
        thresholds,
        certifier=checker, budget=budget, seed=seed, callback=progress,
    )  # fmt: skip
    for string, (a, b) in zip(search.strings, ends, strict=True):
        if torch.equal(a, b):
            search.certify([string])
            search.end(string, Outcome.IDENTICAL, "the endpoints are equal: a path of length 0")
    run(chosen, search)
    found = record(search, chosen, certificate, None if why_not is None else str(why_not))
    if tighten:
        found = [
            shorten(
                objective, connection, seed=seed, budget=budget, progress=progress,
                profile_points=profile_points,
            )
            for connection in found
        ]  # fmt: skip
    elif profile_points:
        found = [
            replace(c, profile=profile(objective, c.path, profile_points, c.history)) for c in found
        ]
    return [say_moved(c, move) for c, move in zip(found, moves, strict=True)]


def check_threshold(threshold: float) -> float:
    """Refuse a threshold that is not a positive number.

    Raises:
        InputError: if it is not.
    """
    try:
        level = float(threshold)
    except (TypeError, ValueError):
        level = math.nan
    if not (math.isfinite(level) and level > 0):
        raise InputError(
            f"expected a finite threshold L0 > 0, got {threshold}: give the level in the unit of "
            "the criterion"
        )
    return level


def _thresholds(threshold: float | Sequence[float], pairs: int) -> list[float]:
    each = list(threshold) if isinstance(threshold, Sequence) else [threshold] * pairs
    if len(each) != pairs:
        raise InputError(f"expected one threshold or one a pair [{pairs}], got {len(each)}")
    return [check_threshold(level) for level in each]


def _label(end: str, index: int, pairs: Sequence[object]) -> str:
    return f"endpoint {end}" + (f" of pair {index}" if len(pairs) > 1 else "")


def _round_up(value: float) -> str:
    """Six digits that are not below the value, so that the advice can be followed."""
    text = f"{value:.6g}"
    if float(text) >= value:
        return text
    last_digit = 10.0 ** (math.floor(math.log10(abs(value))) - 5)
    return f"{value + last_digit:.6g}"


def _endpoint_values(objective: Objective, pair: tuple[Tensor, Tensor]) -> tuple[float, float]:
    """The criterion of both endpoints, in float64."""
    twin = objective.double()
    a, b = twin.criterion_of(torch.stack(pair).to(torch.float64)).values[:, 0].tolist()
    return a, b


def _check_below(
    objective: Objective,
    values: tuple[float, float],
    level: float,
    index: int,
    pairs: Sequence[object],
) -> None:
    criterion = f"{objective.criterion.name} on {objective.criterion.split}"
    for end, value in zip("AB", values, strict=True):
        if not value <= level:
            need = "give a model whose outputs are finite"
            if math.isfinite(max(values)):
                need = f"raise the threshold to at least {_round_up(max(values))}"
            raise InputError(
                f"expected endpoints at or below the threshold {level:g}, got {criterion} "
                f"{value:.6g} at {_label(end, index, pairs)}: {need}, or train it further"
            )


def _unprovable(
    objective: Objective,
    ends: Sequence[tuple[Tensor, Tensor]],
    values: Sequence[tuple[float, float]],
    thresholds: Sequence[float],
) -> InputError | None:
    """Why no proof can succeed, known beforehand; None if one may."""
    for pair, level in zip(values, thresholds, strict=True):
        if max(pair) > level * (1 - _ROUNDING):
            return InputError(
                f"expected endpoints below the threshold {level:.9g} by more than rounding for a "
                f"proof, got {max(pair):.9g}: raise the threshold a little"
            )
    return unsupported(objective, ends[0][0]) if ends else None
