"""A study as one HTML page: Figure 1, outcomes by level, and every cell with its connection."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thalweg.errors import InputError
from thalweg.parameters import replacing
from thalweg.report.parts import ROWS, download, note, page, picture, section, table

if TYPE_CHECKING:
    from thalweg.study import Row, Store
    from thalweg.study.summary import Level, Mean

_SHOWN = (
    "threshold", "task", "protocol", "seed_a", "seed_b", "method", "outcome", "certificate",
    "normalized_length", "beads", "max_criterion_bound", "seconds",
)  # fmt: skip


def save_study_report(store: Store, study: str, file: str | Path) -> None:
    """Write the page of a study, completely or not at all.

    Args:
        store: that has the study.
        study: its name.
        file: name of the page; links to connections are relative to it.

    Raises:
        InputError: if the store has no such study, or it cannot be written.
    """
    content = study_html(store, study, Path(file).parent)
    with replacing(Path(file)) as temporary:
        temporary.write_text(content, encoding="utf-8")


def study_html(store: Store, study: str, folder: Path) -> str:
    """The page of a study.

    Args:
        store: that has the study.
        study: its name.
        folder: where the page will be, from where its links lead to connections.

    Returns:
        A complete HTML document that loads nothing from outside itself.

    Raises:
        InputError: if the store has no such study.
    """
    from thalweg.study.summary import summarize

    records = store.records(study)
    rows = store.rows(study)
    ended = [row for row in rows if row.ended]
    connected = sum(row.connected for row in rows)
    answer = f"{study}: {connected:,} of {len(rows):,} pairs are connected at their threshold"
    if len(ended) < len(rows):
        answer += f"; {len(rows) - len(ended):,} have no result yet"
    return page(
        title=f"{study} - Thalweg",
        mood="plain",
        answer=answer + ".",
        body=[
            _figure(rows),
            _levels(summarize(rows)),
            _outcomes(rows),
            _cells(store, records, rows, folder),
        ],
    )


def _figure(rows: Sequence[Row]) -> str:
    from thalweg.plots.figure1 import figure1
    from thalweg.plots.figure1_info import compute_figure1

    title = "Length and beads against the threshold"
    try:
        info = compute_figure1(rows)
    except InputError as error:
        return section(title, note(f"No figure: {error}."))
    return section(
        title,
        picture(
            figure1(info),
            "Normalized length and number of beads against the threshold",
            "Means over the pairs that connected, with standard errors; lines are power laws "
            "fitted to the means. As Figure 1 of Freeman & Bruna 2017.",
        ),
        anchor="figure",
    )


def _levels(levels: Sequence[Level]) -> str:
    from thalweg.plots.table import Table

    columns = ("threshold", "task", "protocol", "method", "pairs", "connected", "not connected",
               "failed", "pending", "normalized length", "beads")  # fmt: skip
    rows = [
        (f"{x.threshold:g}", x.task, x.protocol, x.method, f"{x.pairs:,}", f"{x.connected:,}",
         f"{x.not_connected:,}", f"{x.failed:,}", f"{x.pending:,}", _mean(x.length), _mean(x.beads))
        for x in levels
    ]  # fmt: skip
    exact = Table(
        (*columns[:9], "normalized length", "its error", "beads", "their error"),
        [(x.threshold, x.task, x.protocol, x.method, x.pairs, x.connected, x.not_connected,
          x.failed, x.pending, *_both(x.length), *_both(x.beads)) for x in levels],
    )  # fmt: skip
    return section(
        "By threshold",
        table(columns, rows, "Means by threshold"),
        download(exact, "levels.csv"),
        anchor="levels",
    )


def _outcomes(rows: Sequence[Row]) -> str:
    counted = Counter((row.task, row.outcome) for row in rows)
    listed = [(task, outcome, f"{n:,}") for (task, outcome), n in sorted(counted.items())]
    return section(
        "Outcomes",
        table(("task", "outcome", "pairs"), listed, "Outcomes"),
        anchor="outcomes",
    )


def _cells(
    store: Store, records: Sequence[dict[str, Any]], rows: Sequence[Row], folder: Path
) -> str:
    from thalweg.plots.table import Table
    from thalweg.study.results import COLUMNS

    def link(row: int) -> str | None:
        try:
            own = store.path_folder(int(records[row]["id"]))
        except InputError:
            return None  # a store whose weights are not here
        for name in ("report.html", "connection.json"):
            if (own / name).is_file():
                relative = os.path.relpath(own / name, folder.absolute())
                return Path(relative).as_posix()
        return None

    texts = [tuple(_text(getattr(row, name)) for name in _SHOWN) for row in rows]
    exact = Table(COLUMNS, [tuple(getattr(row, name) for name in COLUMNS) for row in rows])
    more = f" The first {ROWS:,} are shown; the table to download has all." if (
        len(rows) > ROWS
    ) else ""  # fmt: skip
    return section(
        "Cells",
        '<p class="note">'
        + escape(
            "A threshold leads to the record of its connection where that was kept; thalweg report "
            "FOLDER makes a page of it." + more
        )
        + "</p>",
        table([name.replace("_", " ") for name in _SHOWN], texts, f"{len(rows):,} cells", link),
        download(exact, "cells.csv"),
        anchor="cells",
    )


def _text(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def _mean(mean: Mean | None) -> str:
    if mean is None:
        return ""
    return f"{mean.value:.4g}" + ("" if mean.error is None else f" ± {mean.error:.2g}")


def _both(mean: Mean | None) -> tuple[float | None, float | None]:
    return (None, None) if mean is None else (mean.value, mean.error)
