"""The table of a study as a file: one row a cell, all cells."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

from thalweg.errors import InputError
from thalweg.parameters import replacing
from thalweg.study.results import COLUMNS, Row

_TYPES = {
    "str": "string", "float": "float64", "int": "int64", "str | None": "string",
    "float | None": "float64", "int | None": "int64",
}  # fmt: skip


def write_csv(rows: Sequence[Row], file: Path) -> None:
    """Write a table as CSV; what has no value is an empty field.

    Numbers are written so that they are read as the same numbers.

    Args:
        rows: of a study.
        file: to be written, completely or not at all.
    """
    with replacing(file) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(astuple(row) for row in rows)


def read_csv(file: Path) -> list[Row]:
    """Read a table that :func:`write_csv` wrote.

    Args:
        file: to be read.

    Raises:
        InputError: if it is no such table.
    """
    try:
        with file.open(newline="", encoding="utf-8") as stream:
            lines = list(csv.DictReader(stream))
        return [Row(**{name: _value(name, line[name]) for name in COLUMNS}) for line in lines]
    except (OSError, UnicodeDecodeError, KeyError, ValueError, TypeError) as error:
        got = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise InputError(
            f"expected a table of a study at {file}, got '{got}': export one with thalweg study "
            "export"
        ) from error


def write_parquet(rows: Sequence[Row], file: Path) -> None:
    """Write a table as Parquet.

    Args:
        rows: of a study.
        file: to be written, completely or not at all.

    Raises:
        InputError: if pyarrow is not installed.
    """
    try:
        # Imported here: an extra.
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise InputError(
            f"expected pyarrow for --parquet, got '{error}': pip install thalweg[parquet]"
        ) from error
    schema = pa.schema([(name, _TYPES[_annotation(name)]) for name in COLUMNS])
    columns = [[getattr(row, name) for row in rows] for name in COLUMNS]
    with replacing(file) as temporary:
        pq.write_table(pa.table(columns, schema=schema), temporary)


def _annotation(name: str) -> str:
    return str(Row.__dataclass_fields__[name].type)


def _value(name: str, text: str) -> Any:
    kind = _annotation(name)
    if text == "" and kind.endswith("None"):
        return None
    return {"str": str, "float": float, "int": int}[kind.split()[0]](text)
