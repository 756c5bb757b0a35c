"""A connection in words: the answer in one sentence, and the facts behind it."""

from __future__ import annotations

from collections.abc import Sequence

from thalweg.connect import Connection, Outcome

MEANING = {
    "sampled": "an adaptive estimate from samples, not a proof",
    "proved": "a proof for the stored weights",
}
"""What each kind of certificate is worth."""


def answer(connection: Connection) -> str:
    """The answer to "are they connected?" in one sentence.

    Args:
        connection: the result of a search.

    Returns:
        A sentence that begins with "Connected" or "Not connected".
    """
    if not connection.connected:
        return f"Not connected ({connection.outcome}): {connection.message}."
    level = f"the threshold {connection.threshold:g}"
    if connection.outcome is Outcome.CONNECTED_UP_TO_SYMMETRY:
        length = connection.normalized_length
        along = "a path of length 0" if length is None else (
            f"a path through {count(connection.beads, 'bead')}, {length:.4g} times as long as the "
            "straight line,"
        )  # fmt: skip
        return (
            f"Connected up to symmetry: {along} from one model to the other, its units moved, "
            f"keeps {criterion(connection)} at or below {level} ({connection.certificate} "
            "certificate)."
        )
    if connection.outcome is Outcome.IDENTICAL:
        return f"Connected: the two models are equal and below {level}, a path of length 0."
    stays = f"{criterion(connection)} at or below {level} ({connection.certificate} certificate)"
    if connection.beads == 0:
        return f"Connected: the straight line between the two models keeps {stays}."
    path = f"a path through {count(connection.beads, 'bead')}"
    if connection.path.kind == "bezier":
        path = f"a Bézier curve with {count(connection.beads, 'control point')}"
    return (
        f"Connected: {path}, "
        f"{connection.normalized_length:.4g} times as long as the straight line, keeps {stays}."
    )


def facts(connection: Connection) -> list[tuple[str, str]]:
    """Names and values of what a reader wants to know first.

    Args:
        connection: the result of a search.

    Returns:
        Pairs of a name and a text.
    """
    ratio, counts = connection.normalized_length, connection.counts
    ends = " and ".join(f"{end.criterion:.6g}" for end in connection.endpoints)
    seconds = connection.seconds
    why = connection.settings.get("fallback")
    return [
        ("normalized length", "none, the endpoints are equal" if ratio is None else
         f"{ratio:.4f} (length {connection.length:.4g}, endpoints "
         f"{connection.endpoint_distance:.4g} apart)"),
        *_before(connection),
        ("control points" if connection.path.kind == "bezier" else "beads", str(connection.beads)),
        (criterion(connection), f"{ends} at the endpoints, {connection.max_criterion_seen:.6g} at "
                                "the highest point seen"),
        ("certified bound", _bound(connection)),
        *([("why sampled", str(why))] if why else []),
        ("cost", f"{count(counts.training_steps, 'training step')}, "
                 f"{counts.gradient_samples:,} gradient samples, "
                 f"{counts.criterion_samples:,} criterion samples, "
                 f"{counts.bound_samples:,} bound samples"),
        ("time", f"{seconds['total']:.1f} s ({seconds['training']:.1f} s training, "
                 f"{seconds['certifying']:.1f} s certifying)"),
    ]  # fmt: skip


def comparison_rows(connections: Sequence[Connection]) -> list[tuple[str, ...]]:
    """A comparison of methods as a table of words: the header, then one row a method.

    Args:
        connections: of one pair, by several methods.

    Raises:
        InputError: if they do not belong together.
    """
    # Imported here: matplotlib takes a second, which other words should not wait for.
    from thalweg.plots import compute_comparison

    info = compute_comparison(connections)
    return [
        ("method", "outcome", "barrier", "bound", "length", "beads", "gradient\nsamples",
         "criterion\nsamples"),
        *(
            (
                row.method, row.outcome, f"{row.barrier:.3g}",
                "none" if row.bound is None else f"{row.bound:.4g}",
                "none" if row.normalized_length is None else f"{row.normalized_length:.3f}",
                str(row.beads), f"{row.gradient_samples:,}", f"{row.criterion_samples:,}",
            )
            for row in info.rows
        ),
    ]  # fmt: skip


def criterion(connection: Connection) -> str:
    """What is held against the threshold, as in "error rate on test"."""
    return f"{connection.criterion['name'].replace('_', ' ')} on {connection.criterion['split']}"


def count(number: int, noun: str) -> str:
    """A number of things, as in "1 bead" and "2,000 beads"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _before(connection: Connection) -> list[tuple[str, str]]:
    """The length before the path was tightened, where it was."""
    before = connection.settings.get("tightened_from")
    return [] if before is None else [("before tightening", f"{before:.4f}")]


def _bound(connection: Connection) -> str:
    bound, meaning = connection.max_criterion_bound, MEANING.get(connection.certificate, "")
    if bound is None:
        missing = sum(segment.bound is None for segment in connection.segments)
        return f"none: {count(missing, 'segment')} of {len(connection.segments)} without one"
    return f"{bound:.6g} over the whole path ({connection.certificate}: {meaning})"
