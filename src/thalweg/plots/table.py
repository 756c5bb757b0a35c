"""The numbers of a picture as a table: one CSV beside every figure."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from thalweg.parameters import replacing

Cell = float | int | str | bool | None


@dataclass(frozen=True)
class Table:
    """Rows of numbers under named columns.

    Attributes:
        columns: their names.
        rows: one cell a column each; None where there is no value.

    Example:
        >>> print(Table(("x", "loss on train"), ((0.5, None), (1.0, 0.25))).csv())
        x,loss on train
        0.5,
        1.0,0.25
        <BLANKLINE>
    """

    columns: tuple[str, ...]
    rows: Sequence[tuple[Cell, ...]]

    def csv(self) -> str:
        """As comma-separated values, numbers with all their digits."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows(self.rows)
        return text.getvalue()


def save_table(table: Table, file: Path) -> None:
    """Write a table as CSV, completely or not at all.

    Args:
        table: to write.
        file: its name.

    Raises:
        InputError: if it cannot be written.
    """
    with replacing(file) as temporary:
        temporary.write_text(table.csv(), encoding="utf-8")
