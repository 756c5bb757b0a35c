"""Endpoints moved by the symmetries of the network before a search, and what its record says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from thalweg.connect.connection import Connection
from thalweg.connect.outcome import Outcome
from thalweg.objective import Objective
from thalweg.parameters import Source, fingerprint
from thalweg.symmetry import Alignment, align

Ends = list[tuple[Tensor, Tensor]]


def move_ends(
    objective: Objective,
    pairs: Sequence[tuple[Source, Source]],
    ends: Ends,
    method: bool | str,
    seed: int,
) -> tuple[Ends, list[tuple[str, Alignment] | None]]:
    """Align the second endpoint of every pair to the first.

    Args:
        objective: of all.
        pairs: as given, with their buffers.
        ends: the same as flat vectors.
        method: True for weight matching, or a method's name; False: leave all as they are.
        seed: of the matching.

    Returns:
        The endpoints to connect; and for each pair the fingerprint of the second one as it was
        given, with its alignment, or None where it was not moved.
    """
    if method is False:
        return ends, [None] * len(ends)
    moved: Ends = []
    moves: list[tuple[str, Alignment] | None] = []
    for (source_a, source_b), (a, b) in zip(pairs, ends, strict=True):
        found = align(
            objective, source_a, source_b, "weights" if method is True else method, seed=seed
        )
        moved.append((a, found.theta))
        moves.append((fingerprint(b), found))
    return moved, moves


def say_moved(connection: Connection, move: tuple[str, Alignment] | None) -> Connection:
    """Record that the second endpoint was aligned, and what that makes of the outcome."""
    if move is None:
        return connection
    given, found = move
    first, last = connection.endpoints
    settings = {
        "align": {
            "method": found.method,
            "before": found.before,
            "after": found.after,
            "max_output_change": found.max_output_change,
            "moved": found.moved,
        }
    }
    outcome, message = connection.outcome, connection.message
    if found.moved:
        last = replace(last, given_sha256=given)
        message += (
            f"; endpoint B was moved by the network's symmetries, from {found.before:.4g} to "
            f"{found.after:.4g} away from A"
        )
        if connection.connected:
            outcome = Outcome.CONNECTED_UP_TO_SYMMETRY
    return replace(
        connection, outcome=outcome, message=message, endpoints=(first, last)
    ).with_settings(**settings)
