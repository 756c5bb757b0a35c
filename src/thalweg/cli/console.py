"""What commands print: words for people, one JSON document for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

NEGATIVE = 3
"""Exit status of a clean "no": not connected, not verified, not trained."""


def say(text: str) -> None:
    """Print words that are no result: they go to stderr."""
    print(text, file=sys.stderr, flush=True)


def complain(text: str) -> None:
    """Print an error as one line on stderr."""
    say("thalweg: " + " ".join(text.split()))


def print_json(document: Mapping[str, Any]) -> None:
    """Print the one document of ``--json``."""
    print(json.dumps(document, indent=2, allow_nan=False))


def print_sentence(text: str, *, good: bool) -> None:
    """Print a result in one sentence."""
    style = "bold green" if good else "bold yellow"
    _console().print(Text(text, style=style), soft_wrap=True)


def print_facts(facts: Iterable[tuple[str, str]]) -> None:
    """Print names and values, one pair a line, never broken: a value may be a command to copy."""
    pairs = list(facts)
    width = max(len(name) for name, _ in pairs)
    for name, value in pairs:
        line = Text(f"{name:<{width}}  ", style="cyan").append(value, style="default")
        _console().print(line, soft_wrap=True)


def print_table(
    columns: Iterable[str], rows: Iterable[Iterable[str]], *, lines: bool = True
) -> None:
    """Print a table with a header; without lines, where it is to fit into 80 columns."""
    table = Table(show_edge=False, header_style="bold", show_lines=lines)
    if not lines:
        table.box, table.padding = None, (0, 1, 0, 0)
    for i, name in enumerate(columns):
        # The first column names the row, for the reader to copy: it is not broken.
        table.add_column(name, overflow="fold", no_wrap=i == 0)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    _console().print(table)


def finish(*, negative: bool) -> None:
    """End a command whose work is done and printed.

    Args:
        negative: whether the result is a clean "no", which has an exit status of its own.

    Raises:
        Exit: if it is.
    """
    if negative:
        raise typer.Exit(NEGATIVE)


def _console() -> Console:
    # Made when needed, so that it writes to what sys.stdout is by then.
    return Console(highlight=False, markup=False, emoji=False)
