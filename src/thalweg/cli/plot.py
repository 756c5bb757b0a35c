"""``thalweg plot``: a saved result as a figure for a paper, or as a movie."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import thalweg
from thalweg.cli.console import print_json, print_sentence
from thalweg.cli.options import Json
from thalweg.cli.output import check_writable
from thalweg.cli.pictures import Look, check_picture, write_tables
from thalweg.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from thalweg.plots import Table

_WHAT = ("profile", "string", "plane")


def plot(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SOURCE",
            help="A connection's folder; or the .safetensors of thalweg surface, plane or "
            "trajectory.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            help="Picture to write: .png, .svg or .pdf, its numbers beside it as .csv; of a "
            "string also .gif or, with ffmpeg, .mp4: the algorithm at work.",
        ),
    ],
    what: Annotated[
        str | None,
        typer.Option(
            metavar="|".join(_WHAT),
            help="Of a connection; default: the profile, or the string for a movie.",
        ),
    ] = None,
    style: Look = "heat",
    json: Json = False,
) -> None:
    """Draw what was computed before; nothing is evaluated."""
    from thalweg.plots import MOVIES, write_figure

    movie = out.suffix.lower() in MOVIES
    if movie:
        check_writable(out)
    else:
        check_picture(out, style)
    if what is not None and what not in _WHAT:
        raise InputError(f"expected --what {', '.join(_WHAT)}, got '{what}'")
    if movie and what not in (None, "string"):
        raise InputError(f"expected --what string for a movie, got '{what}': choose another name")
    what = what or ("string" if movie else "profile")
    if source.suffix == ".safetensors" or what == "plane":
        figure, tables = _plane(source, style)
    elif what == "string":
        figure, tables = _string(source, out if movie else None)
    else:
        figure, tables = _profile(source)
    if figure is not None:
        write_figure(figure, out)
    files = [out, *write_tables(tables, out)]
    if json:
        print_json({"files": [str(file) for file in files]})
        return
    print_sentence(f"Written: {', '.join(str(file) for file in files)}.", good=True)


def _plane(source: Path, style: str) -> tuple[Figure, dict[str, Table]]:
    from thalweg.connect import PLANE_VALUES
    from thalweg.plots import plane_figure, plane_positions, plane_table

    if source.is_dir() and not (source / PLANE_VALUES).is_file():
        raise InputError(
            f"expected a plane in {source}, got none: make it with thalweg plane {source}"
        )
    found = thalweg.load_plane(source / PLANE_VALUES if source.is_dir() else source)
    tables = {"": plane_table(found)}
    if found.marks or found.lines:
        tables["-positions"] = plane_positions(found)
    return plane_figure(found, style), tables  # type: ignore[arg-type]  # checked before


def _string(source: Path, movie: Path | None) -> tuple[Figure | None, dict[str, Table]]:
    from thalweg.plots import animate_string, compute_string, string_figure, string_table

    info = compute_string(thalweg.load_connection(source))
    tables = {"": string_table(info)}
    if movie is None:
        return string_figure(info), tables
    animate_string(info, movie)
    return None, tables


def _profile(source: Path) -> tuple[Figure, dict[str, Table]]:
    from thalweg.plots import compute_profile, profile_figure, profile_table

    info = compute_profile(thalweg.load_connection(source))
    return profile_figure(info), {"": profile_table(info)}
