"""A connection as one HTML page: no network, no scripts, light and dark."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from thalweg.connect import Connection, Segment
from thalweg.parameters import replacing
from thalweg.report.words import MEANING, answer, count, criterion, facts

# Rows of the table of segments: the page stays small however long the string is.
_ROWS = 2000
# A longer table is folded away.
_OPEN_ROWS = 25


def save_report(connection: Connection, file: str | Path) -> None:
    """Write the page of a connection, completely or not at all.

    Args:
        connection: the result of a search.
        file: name of the page.

    Raises:
        InputError: if it cannot be written.
    """
    content = connection_html(connection)
    with replacing(Path(file)) as temporary:
        temporary.write_text(content, encoding="utf-8")


def connection_html(connection: Connection) -> str:
    """The page of a connection.

    Args:
        connection: the result of a search.

    Returns:
        A complete HTML document that refers to nothing outside itself.
    """
    # Imported here: matplotlib takes a second, which the words alone do not need.
    from thalweg.plots.style import DARK, LIGHT

    settings = dict(connection.settings)
    command = settings.pop("command", "made by the Python interface, without a command")
    counts = {**asdict(connection.counts), **{f"seconds {k}": round(v, 3)
              for k, v in connection.seconds.items()}}  # fmt: skip
    template = Template((files("thalweg.report") / "template.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=escape(answer(connection).split(":")[0] + " - Thalweg"),
        light=_variables(LIGHT.items()),
        dark=_variables(DARK.items()),
        mood="good" if connection.connected else "bad",
        answer=escape(answer(connection)),
        facts=_definitions(facts(connection)),
        figure=_figure(connection),
        segments_note=escape(_segments_note(connection)),
        segments=_segments(connection.segments),
        command=escape(str(command)),
        settings=_definitions(
            _flat({"method": connection.method, "certificate": connection.certificate,
                   "seed": connection.seed, **settings})
        ),
        counts=_definitions(_flat(counts)),
        versions=_definitions(_flat(connection.versions)),
    )  # fmt: skip


def _figure(connection: Connection) -> str:
    """The profile as inline SVG whose colours follow the page; nothing without a profile."""
    if connection.profile is None:
        return '<p class="note">No profile was evaluated for this connection.</p>'
    from thalweg.plots import compute_profile, profile_figure
    from thalweg.plots.files import render
    from thalweg.plots.style import LIGHT

    info = compute_profile(connection)
    drawn = render(profile_figure(info), "svg").decode()
    drawn = drawn[drawn.index("<svg") :]
    for name, color in LIGHT.items():
        drawn = drawn.replace(color, f"var(--{name})")
    label = escape(f"{criterion(connection)} along the path and along the straight line")
    drawn = drawn.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
    examples = ", ".join(f"{c.examples:,} on {c.name.rpartition(' ')[2]}" for c in info.losses)
    caption = escape(
        f"{criterion(connection)} along the path and along the straight line; the path close up; "
        f"the loss on every split. {len(info.t)} points of each curve; "
        f"examples looked at: {examples}."
    )
    return f"<figure>{drawn}<figcaption>{caption}</figcaption></figure>"


def _segments_note(connection: Connection) -> str:
    meaning = MEANING.get(connection.certificate, "")
    note = (
        f"A bound holds for a whole segment; it is {connection.certificate}: {meaning}. "
        "Seen is the largest value evaluated."
    )
    more = len(connection.segments) - _ROWS
    return note + (
        f" The first {_ROWS:,} segments; the other {more:,} are in connection.json."
        if more > 0 else ""
    )  # fmt: skip


def _segments(segments: tuple[Segment, ...]) -> str:
    names = ("segment", "length", "bound", "seen", "certificate", "evaluations")
    head = "".join(f"<th scope=col>{name}</th>" for name in names)
    rows = "\n".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in (
            str(i), f"{s.length:.4g}", _number(s.bound), _number(s.seen), s.kind,
            f"{s.evaluations:,}",
        )) + "</tr>"
        for i, s in enumerate(segments[:_ROWS], 1)
    )  # fmt: skip
    table = f'<div class="scroll"><table><tr>{head}</tr>\n{rows}\n</table></div>'
    if len(segments) <= _OPEN_ROWS:
        return table
    return f"<details><summary>{count(len(segments), 'segment')}</summary>{table}</details>"


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.6g}"


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    """Nested settings as pairs of a dotted name and a text."""
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value if isinstance(value, str) else json.dumps(value)


def _definitions(pairs: Iterable[tuple[str, str]]) -> str:
    return "\n".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in pairs)


def _variables(colors: Iterable[tuple[str, str]]) -> str:
    return "; ".join(f"--{name}: {color}" for name, color in colors)
