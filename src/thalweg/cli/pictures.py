"""What the commands that draw have in common: options, files, what they print."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from thalweg.cli.console import print_facts, print_json, print_sentence
from thalweg.cli.output import check_writable
from thalweg.documents import finite
from thalweg.errors import InputError

if TYPE_CHECKING:
    from thalweg.geometry import Plane
    from thalweg.plots import Table


VALUES = ".values.safetensors"
"""After the name of a picture: the file of its values."""


def parse_shape(text: str) -> tuple[int, ...]:
    """Numbers of points along the axes.

    Args:
        text: such as ``51`` or ``51x31``.

    Raises:
        InputError: if it is neither.
    """
    parts = text.lower().replace("×", "x").split("x")
    if len(parts) > 2 or not all(part.isascii() and part.isdigit() for part in parts):
        raise InputError(f"expected a shape such as 51 or 51x31, got '{text}'")
    return tuple(int(part) for part in parts)


def parse_extent(text: str) -> tuple[float, ...]:
    """How far to go along the axes.

    Args:
        text: such as ``1``, ``-0.5,1`` or ``-0.5,1,0,2``.

    Raises:
        InputError: if it is none of these.
    """
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) not in (1, 2, 4):
        raise InputError(
            f"expected an extent such as 1, -0.5,1 or -0.5,1,0,2 (low,high of each axis), got "
            f"'{text}'"
        )
    return numbers


def shape_of(parsed: tuple[int, ...], axes: int) -> int | tuple[int, ...]:
    """A shape as the API takes it."""
    return parsed[0] if len(parsed) == 1 else parsed[:axes] if len(parsed) >= axes else parsed


def extent_of(parsed: tuple[float, ...] | None) -> float | list[tuple[float, float]] | None:
    """An extent as the API takes it."""
    if parsed is None or len(parsed) == 1:
        return None if parsed is None else parsed[0]
    if len(parsed) == 2:
        return [(parsed[0], parsed[1])] * 2
    return [(parsed[0], parsed[1]), (parsed[2], parsed[3])]


Out = Annotated[
    Path,
    typer.Option(
        metavar="FILE",
        help="Picture to write: .png, .svg or .pdf. Beside it come its numbers: NAME.csv, "
        "NAME-positions.csv, and NAME.values.safetensors, from which it goes on if interrupted.",
    ),
]
Shape = Annotated[
    tuple,
    typer.Option(parser=parse_shape, metavar="N[xM]", help="Points along each axis."),
]
Reach = Annotated[
    tuple | None,
    typer.Option(
        parser=parse_extent, metavar="E|LOW,HIGH[,LOW,HIGH]", help="How far to go along the axes."
    ),
]
Look = Annotated[
    str,
    typer.Option(
        "--style", metavar="heat|contour|relief", help="Cells, lines of equal value, or in space."
    ),
]
SplitName = Annotated[
    str | None, typer.Option("--split", metavar="NAME", help="The data; default: the criterion's.")
]


def check_picture(out: Path, style: str = "heat") -> None:
    """Refuse what cannot be drawn or written, before anything is computed.

    Raises:
        InputError: if the name ends otherwise, the style is unknown, or the place is no good.
    """
    from thalweg.plots import STYLES, check_format

    check_format(out)
    if style not in STYLES:
        raise InputError(f"expected a style among {', '.join(STYLES)}, got '{style}'")
    check_writable(out)


def values_file(out: Path) -> Path:
    """Where the values of a picture are kept."""
    return out.with_name(f"{out.stem}{VALUES}")


def write_plane(plane: Plane, out: Path, style: str) -> list[Path]:
    """Write a plane's picture, tables and values; their names.

    Args:
        plane: to write.
        out: name of the picture.
        style: how to draw it.
    """
    from thalweg.plots import plane_figure, plane_positions, plane_table, write_figure

    plane.save(values_file(out))
    write_figure(plane_figure(plane, style), out)  # type: ignore[arg-type]  # checked before
    tables = {"": plane_table(plane)}
    if plane.marks or plane.lines:
        tables["-positions"] = plane_positions(plane)
    return [out, *write_tables(tables, out), values_file(out)]


def write_tables(tables: dict[str, Table], out: Path) -> list[Path]:
    """Write tables beside a picture, under its name and a suffix each; their names."""
    from thalweg.plots import save_table

    files = [out.with_name(f"{out.stem}{suffix}.csv") for suffix in tables]
    for table, file in zip(tables.values(), files, strict=True):
        save_table(table, file)
    return files


def show_plane(plane: Plane, files: list[Path], *, json: bool) -> None:
    """Print what a plane holds."""
    found = plane.surface
    finite_values = found.values[found.finite]
    lowest, highest = (
        (float(finite_values.min()), float(finite_values.max()))
        if len(finite_values) else (None, None)
    )  # fmt: skip
    cells = found.values.numel()
    missing = cells - len(finite_values)
    if json:
        axes = zip(plane.names, found.axes, found.norms, strict=True)
        print_json({
            "criterion": plane.criterion,
            "axes": [{"name": name, "low": float(axis[0]), "high": float(axis[-1]),
                      "points": len(axis), "norm": norm} for name, axis, norm in axes],
            "lowest": lowest, "highest": highest, "cells": cells, "not_finite": missing,
            "examples": found.examples, "threshold": plane.threshold,
            "marks": [{**vars(mark), "position": [finite(x) for x in mark.position]}
                      for mark in plane.marks],
            "files": [str(file) for file in files],
        })  # fmt: skip
        return
    shape = " x ".join(str(len(axis)) for axis in found.axes)
    print_sentence(f"Drawn: {plane.criterion} on {shape} points.", good=True)
    values = "none is finite" if lowest is None else f"{lowest:.6g} to {highest:.6g}"
    print_facts([
        ("values", values + (f"; {missing} of {cells} are not finite" if missing else "")),
        *((name, f"{float(axis[0]):.4g} to {float(axis[-1]):.4g}")
          for name, axis in zip(plane.names, found.axes, strict=True)),
        ("files", ", ".join(str(file) for file in files)),
    ])  # fmt: skip
