"""``thalweg report``: a saved connection as one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import thalweg
from thalweg.cli.console import print_json, print_sentence
from thalweg.cli.options import Json
from thalweg.cli.output import check_file
from thalweg.report import save_report


def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a connection.")],
    out: Annotated[Path, typer.Option(metavar="FILE.html", help="Page to write.")],
    json: Json = False,
) -> None:
    """Write a saved connection as one HTML page that needs no network."""
    check_file(out, ".html")
    save_report(thalweg.load_connection(folder), out)
    if json:
        print_json({"file": str(out), "bytes": out.stat().st_size})
        return
    print_sentence(f"Written: {out}; open it in a browser.", good=True)
