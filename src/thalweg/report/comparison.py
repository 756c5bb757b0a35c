"""A comparison of methods as one HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, fields
from pathlib import Path

from thalweg.connect import Connection
from thalweg.parameters import replacing
from thalweg.report.parts import definitions, download, page, picture, section, table
from thalweg.report.words import answer, comparison_rows, facts


def save_comparison_report(connections: Sequence[Connection], file: str | Path) -> None:
    """Write the page of a comparison, completely or not at all.

    Args:
        connections: of one pair, by several methods.
        file: name of the page.

    Raises:
        InputError: if they do not belong together, or it cannot be written.
    """
    content = comparison_html(connections)
    with replacing(Path(file)) as temporary:
        temporary.write_text(content, encoding="utf-8")


def comparison_html(connections: Sequence[Connection]) -> str:
    """The page of a comparison.

    Args:
        connections: of one pair, by several methods.

    Returns:
        A complete HTML document that refers to nothing outside itself.

    Raises:
        InputError: if they do not belong together.
    """
    from thalweg.plots import MethodRow, Table, comparison_figure, compute_comparison

    info = compute_comparison(connections)
    header, *rows = comparison_rows(connections)
    found = sum(row.connected for row in info.rows)
    exact = Table(
        tuple(field.name for field in fields(MethodRow)), [astuple(row) for row in info.rows]
    )
    return page(
        title="Comparison of methods - Thalweg",
        mood="good" if found else "bad",
        answer=f"{found} of {len(info.rows)} methods found a path with {info.criterion} at or "
        f"below {info.threshold:g}.",
        body=[
            section(
                "Methods",
                table(header, rows, "Methods"),
                download(exact, "methods.csv"),
                picture(
                    comparison_figure(info),
                    "Barrier, length and cost of each method",
                    f"What each method found and what it cost; {info.criterion}, threshold "
                    f"{info.threshold:g}.",
                ),
                anchor="methods",
            ),
            *(
                section(
                    connection.method,
                    definitions([("answer", answer(connection)), *facts(connection)]),
                )
                for connection in connections
            ),
        ],
    )
