"""A connection as one HTML page: no network, light and dark, readable without scripts."""

from __future__ import annotations

from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thalweg.connect import PLANE_VALUES, Connection
from thalweg.errors import InputError
from thalweg.parameters import replacing
from thalweg.report.moving import STRETCHES, plane_data, string_data
from thalweg.report.parts import (
    ROWS,
    definitions,
    download,
    flat,
    folded,
    note,
    page,
    picture,
    section,
    table,
)
from thalweg.report.words import MEANING, answer, count, criterion, facts

if TYPE_CHECKING:
    from thalweg.geometry import Plane
    from thalweg.plots import Table

# Rows of a table that is downloaded: the page stays small.
_DOWNLOAD_ROWS = 5000
_PROFILE_ROWS = 2000


def save_report(connection: Connection, file: str | Path, plane: Plane | None = None) -> None:
    """Write the page of a connection, completely or not at all.

    Args:
        connection: the result of a search.
        file: name of the page.
        plane: to show its path on.

    Raises:
        InputError: if it cannot be written.
    """
    content = connection_html(connection, plane)
    with replacing(Path(file)) as temporary:
        temporary.write_text(content, encoding="utf-8")


def plane_beside(connection: Connection, folder: str | Path) -> Plane | None:
    """The plane that was drawn for a saved connection, if there is one and it is of its endpoints.

    Args:
        connection: as loaded.
        folder: from where.
    """
    from thalweg.geometry import load_plane

    file = Path(folder) / PLANE_VALUES
    if not file.is_file():
        return None
    try:
        found = load_plane(file)
    except InputError:
        return None  # one that is not finished yet
    own = {end.sha256 for end in connection.endpoints}
    return found if own <= {mark.sha256 for mark in found.marks} else None


def connection_html(connection: Connection, plane: Plane | None = None) -> str:
    """The page of a connection.

    Args:
        connection: the result of a search.
        plane: to show its path on.

    Returns:
        A complete HTML document that refers to nothing outside itself.
    """
    data: dict[str, Any] = {}
    sections = [
        definitions(facts(connection)),
        _profile(connection),
        _string(connection, data),
        _plane(plane, data),
        _segments(connection),
        _made(connection),
    ]
    return page(
        title=answer(connection).split(":")[0] + " - Thalweg",
        mood="good" if connection.connected else "bad",
        answer=answer(connection),
        body=[part for part in sections if part],
        data=data or None,
    )


def _profile(connection: Connection) -> str:
    title = "Along the path"
    if connection.profile is None:
        return section(title, note("No profile was evaluated for this connection."))
    from thalweg.plots import Table, compute_profile, profile_figure, profile_table

    info = compute_profile(connection)
    values, left_out = profile_table(info), ""
    if len(values.rows) > _PROFILE_ROWS:
        values = Table(values.columns, [row for row in values.rows if row[-1]])
        left_out = " The table holds the models alone; the rest is in connection.json."
    examples = ", ".join(f"{c.examples:,} on {c.name.rpartition(' ')[2]}" for c in info.losses)
    return section(
        title,
        picture(
            profile_figure(info),
            f"{criterion(connection)} along the path and along the straight line",
            f"{criterion(connection)} along the path and along the straight line; the path close "
            f"up; the loss on every split. {len(info.t)} points of each curve; examples looked at: "
            f"{examples}.{left_out}",
        ),
        download(_first(values), "profile.csv"),
        anchor="profile",
    )


def _string(connection: Connection, data: dict[str, Any]) -> str:
    """The path in the space of its principal components; nothing without a profile."""
    if connection.profile is None or connection.endpoint_distance == 0:
        return ""
    from thalweg.plots import Table, compute_string, string_figure, string_table

    info = compute_string(connection)
    data["string"] = string_data(info)
    shown, left_out = string_table(info), ""
    long = len(info.stretches) > STRETCHES
    if long:
        names = {stretch.points[0] for stretch in info.at(info.steps)} | {info.models[-1]}
        models = {row[4:7]: row for row in shown.rows if row[1] == info.steps and row[4:7] in names}
        shown = _first(Table(shown.columns, [*models.values()]))
        left_out = (
            " It is too long to be shown step by step, and the table holds its models alone; the "
            "rest is in connection.json."
        )
    steps = "" if not info.steps else (
        f" The algorithm put in {count(info.steps, 'bead')}; the slider goes through its steps."
    )  # fmt: skip
    return section(
        "In the space of its principal components",
        picture(
            string_figure(info, [info.steps] if long else None),
            "The path in the space of its first three principal components",
            f"The path projected onto the first three principal axes of its models, which hold "
            f"{100 * sum(info.explained):.3g} % of their variance; thin lines are projections onto "
            f"the walls. Colours: {info.criterion}, from L0 = {info.threshold:g} (blue, and all "
            f"below) to {info.high:.3g} (red), log scale.{steps}{left_out}",
            plot="string",
        ),
        download(shown, "string.csv"),
        anchor="string",
    )


def _plane(plane: Plane | None, data: dict[str, Any]) -> str:
    if plane is None:
        return ""
    from thalweg.plots import plane_figure, plane_positions, plane_table

    data["plane"] = plane_data(plane)
    shape = " × ".join(str(len(axis)) for axis in plane.surface.axes)
    missing = int((~plane.surface.finite).sum())
    off = max((float(line.distances.max()) for line in plane.lines), default=0.0)
    return section(
        "On a plane",
        picture(
            plane_figure(plane),
            f"{plane.criterion} on the plane through {', '.join(m.name for m in plane.marks)}",
            f"{plane.criterion} on the plane through "
            f"{', '.join(mark.name for mark in plane.marks)}, {shape} points, "
            f"{plane.surface.examples:,} examples; axes are distances in parameter space. The path "
            f"is projected: it leaves the plane by up to {off:.3g}, so that it can be lower than "
            f"what is drawn under it."
            + (f" {missing} cells are not finite, and left grey." if missing else ""),
            plot="plane",
        ),
        download(_first(plane_table(plane)), "plane.csv"),
        download(_first(plane_positions(plane)), "plane-positions.csv"),
        anchor="plane",
    )


def _segments(connection: Connection) -> str:
    from thalweg.plots.table import Table

    names = ("segment", "length", "bound", "seen", "certificate", "evaluations")
    shown = connection.segments[:ROWS]
    rows = [
        (str(i), f"{s.length:.4g}", _number(s.bound), _number(s.seen), s.kind, f"{s.evaluations:,}")
        for i, s in enumerate(shown, 1)
    ]
    whole = Table(
        names,
        [(i, s.length, s.bound, s.seen, s.kind, s.evaluations) for i, s in enumerate(shown, 1)],
    )
    meaning = MEANING.get(connection.certificate, "")
    more = len(connection.segments) - ROWS
    return section(
        "Segments",
        note(
            f"A bound holds for a whole segment; it is {connection.certificate}: {meaning}. "
            "Seen is the largest value evaluated."
            + (
                f" The first {ROWS:,} segments; the other {more:,} are in connection.json."
                if more > 0
                else ""
            )
        ),
        table(names, rows, count(len(connection.segments), "segment")),
        download(whole, "segments.csv"),
        anchor="segments",
    )


def _made(connection: Connection) -> str:
    from thalweg.plots.table import Table

    settings = dict(connection.settings)
    command = settings.pop("command", "made by the Python interface, without a command")
    counts = {**asdict(connection.counts),
              **{f"seconds {k}": round(v, 3) for k, v in connection.seconds.items()}}  # fmt: skip
    how = [*flat({"method": connection.method, "certificate": connection.certificate,
                  "seed": connection.seed, **settings})]  # fmt: skip
    every: list[tuple[str, str, str]] = [
        *(("fact", *pair) for pair in facts(connection)),
        *(("setting", *pair) for pair in how),
        *(("cost", *pair) for pair in flat(counts)),
        *(("version", *pair) for pair in flat(connection.versions)),
    ]
    return section(
        "How it was made",
        f"<pre>{escape(str(command))}</pre>",
        folded("Settings", definitions(how)),
        folded("Costs", definitions(flat(counts))),
        folded("Versions", definitions(flat(connection.versions))),
        download(Table(("what", "name", "value"), every), "record.csv"),
        anchor="made",
    )


def _first(whole: Table) -> Table:
    """As many rows as a page can hold."""
    return type(whole)(whole.columns, whole.rows[:_DOWNLOAD_ROWS])


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.6g}"
