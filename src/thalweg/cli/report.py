"""``thalweg report``: a saved connection, a comparison or a study as one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import thalweg
from thalweg.cli.console import print_json, print_sentence
from thalweg.cli.options import Json
from thalweg.cli.output import check_file
from thalweg.connect import RECORD_FILE
from thalweg.errors import InputError
from thalweg.report import (
    plane_beside,
    save_atlas_report,
    save_comparison_report,
    save_report,
    save_study_report,
)


def report(
    source: Annotated[
        str,
        typer.Argument(
            metavar="DIR_OR_STORE",
            help="A connection's folder, that of a comparison, or a store of studies and atlases.",
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="FILE.html", help="Page to write.")],
    study: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Of a store: which study; needed where it has several."),
    ] = None,
    atlas: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Of a store: which atlas, instead of a study."),
    ] = None,
    files: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where a store that is no SQLite file keeps paths."),
    ] = None,
    json: Json = False,
) -> None:
    """Write a saved result as one HTML page that needs no network."""
    check_file(out, ".html")
    folder = Path(source)
    if "://" in source or folder.is_file():
        _stored(source, study, atlas, files, out)
    elif (folder / RECORD_FILE).is_file():
        connection = thalweg.load_connection(folder)
        save_report(connection, out, plane_beside(connection, folder))
    else:
        save_comparison_report(_methods(folder), out)
    if json:
        print_json({"file": str(out), "bytes": out.stat().st_size})
        return
    print_sentence(f"Written: {out}; open it in a browser.", good=True)


def _methods(folder: Path) -> list[thalweg.Connection]:
    """The connections of a comparison, each in a folder of its own."""
    found = sorted(folder.glob(f"*/{RECORD_FILE}")) if folder.is_dir() else []
    if not found:
        raise InputError(
            f"expected a connection's folder with {RECORD_FILE}, the folder of a comparison or a "
            f"study's store, got none at {folder}: check the path"
        )
    return [thalweg.load_connection(file.parent) for file in found]


def _stored(
    source: str, study: str | None, atlas: str | None, files: Path | None, out: Path
) -> None:
    from thalweg.study import Store, atlas_names

    store = Store(source, files, create=False)
    studies, atlases = list(store.studies()), list(atlas_names(store))
    if study is not None and atlas is not None:
        raise InputError("expected one of --study and --atlas, got both: leave one out")
    if study is None and atlas is None:
        if len(studies) + len(atlases) != 1:
            raise InputError(
                f"expected --study NAME or --atlas NAME for a store with {len(studies)} studies "
                f"and {len(atlases)} atlases, got neither: name one of "
                f"{', '.join([*studies, *atlases]) or '(none)'}"
            )
        study, atlas = next(iter(studies), None), next(iter(atlases), None)
    if atlas is not None:
        save_atlas_report(store, atlas, out)
    else:
        save_study_report(store, str(study), out)
