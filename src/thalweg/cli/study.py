"""``thalweg study``: run a study, look at it, export and draw it."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from thalweg.cli.console import finish, print_json, print_sentence, print_table, say
from thalweg.cli.options import DataDir, Device, Json, Threads
from thalweg.cli.output import check_file
from thalweg.cli.progress import Display
from thalweg.errors import InputError

if TYPE_CHECKING:  # SQLAlchemy takes a while to import, which no other command should wait for
    from thalweg.study import Row, Store, Study
    from thalweg.study.summary import Level, Mean

Name = Annotated[
    str,
    typer.Argument(metavar="NAME_OR_FILE", help="A study: see thalweg study list; or a .toml."),
]
StoreUrl = Annotated[
    str,
    typer.Option(
        "--store",
        metavar="URL",
        help="Where results are kept: an SQLite file, or postgresql://user@host/database.",
    ),
]
Files = Annotated[
    Path | None,
    typer.Option(
        "--files", metavar="DIR", help="Folder of the weights; default: beside the SQLite file."
    ),
]
Pairs = Annotated[int | None, typer.Option(min=1, metavar="N", help="Pairs of each threshold.")]
Levels = Annotated[
    str | None, typer.Option(metavar="L0,L0,…", help="Thresholds; default: those of the study.")
]
FirstSeed = Annotated[int | None, typer.Option(min=0, metavar="S", help="The first seed.")]
Protocols = Annotated[
    str | None,
    typer.Option(
        metavar="strict|paper",
        help="Ours, or that of the published runs; both with a comma between.",
    ),
]
_STORE = "studies.db"

study_app = typer.Typer(
    no_args_is_help=True,
    help="Studies: a grid of problems, thresholds, pairs of networks, methods and protocols.",
)


@study_app.command(epilog="Example:  thalweg study run figure1-quadratic --pairs 2 --store q.db")
def run(
    name: Name,
    store: StoreUrl = _STORE,
    files: Files = None,
    pairs: Pairs = None,
    thresholds: Levels = None,
    seed: FirstSeed = None,
    protocol: Protocols = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="draws|quadrature",
            help="Data of the polynomial tasks: draws, or a rule that gives the risk itself.",
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Processes that compute side by side.")
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Of a Dask scheduler whose workers compute instead."),
    ] = None,
    resource: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=N", help="That each batch takes of a Dask worker: GPU=1."),
    ] = None,
    data_dir: DataDir = None,
    device: Device = None,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Compute the cells of a study that have no result yet. Stopped at any instant, it goes on.

    Exit status: 0 every cell has a result; 3 some computations broke off; 2 bad input.
    """
    from thalweg.study import run_study

    chosen = _load(name).varied(
        pairs=pairs, thresholds=_numbers(thresholds), seed=seed, protocols=_words(protocol),
        data=data,
    )  # fmt: skip
    begin = time.monotonic()
    kept = _open(store, files, create=True)
    with Display(chosen.name) as display:
        tally = run_study(
            chosen, kept, workers=workers, scheduler=scheduler, resources=_resources(resource),
            data_dir=data_dir, device=device, threads=threads, report=display.study,
        )  # fmt: skip
    if json:
        from thalweg.study.claims import describe

        print_json({
            "study": chosen.name, "store": store, **describe(tally),
            "seconds": time.monotonic() - begin,
        })  # fmt: skip
    else:
        ended = f"{tally.done} of {tally.total} cells have a result"
        failed = f", {tally.failed} failed" if tally.failed else ""
        print_sentence(f"{chosen.name}: {ended}{failed}.", good=not tally.failed)
        print_table(*_table(kept, chosen.name))
    finish(negative=tally.failed > 0)


@study_app.command(epilog="Example:  thalweg study show figure1-quadratic --store q.db")
def show(
    name: Name,
    store: StoreUrl = _STORE,
    pairs: Pairs = None,
    thresholds: Levels = None,
    seed: FirstSeed = None,
    protocol: Protocols = None,
    json: Json = False,
) -> None:
    """Show what a study has given so far: means over pairs, with standard errors."""
    from thalweg.study.claims import describe
    from thalweg.study.summary import summarize

    kept = _open(store, None, create=False)
    study = _name(name)
    rows = _chosen(kept, study, pairs, thresholds, seed, protocol)
    if json:
        levels = [asdict(level) for level in summarize(rows)]
        print_json({"study": study, **describe(kept.tally(study)), "levels": levels})
        return
    print_table(*_table(kept, study, rows))


@study_app.command(epilog="Example:  thalweg study export figure1-quadratic --csv quadratic.csv")
def export(
    name: Name,
    store: StoreUrl = _STORE,
    csv: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE.csv", help="Write a table as CSV.")
    ] = None,
    parquet: Annotated[
        Path | None, typer.Option("--parquet", metavar="FILE.parquet", help="… as Parquet.")
    ] = None,
    pairs: Pairs = None,
    thresholds: Levels = None,
    seed: FirstSeed = None,
    protocol: Protocols = None,
    json: Json = False,
) -> None:
    """Write all cells of a study as a table, one row a cell, those without a result included."""
    from thalweg.study.export import write_csv, write_parquet

    if csv is None and parquet is None:
        raise InputError("expected --csv FILE or --parquet FILE, got neither: name a file")
    for file, suffix in ((csv, ".csv"), (parquet, ".parquet")):
        if file is not None:
            check_file(file, suffix, option=f"--{suffix[1:]}")
    rows = _chosen(_open(store, None, create=False), _name(name), pairs, thresholds, seed, protocol)
    written = []
    for file, write in ((csv, write_csv), (parquet, write_parquet)):
        if file is not None:
            write(rows, file)
            written.append(str(file))
    if json:
        print_json({"rows": len(rows), "files": written})
    else:
        say(f"{len(rows)} rows: {', '.join(written)}")


@study_app.command(epilog="Example:  thalweg study plot figure1-quadratic --out figure1.png")
def plot(
    name: Annotated[
        str, typer.Argument(metavar="NAME_OR_FILE", help="A study, its .toml, or an exported .csv.")
    ],
    out: Annotated[
        Path, typer.Option(metavar="FILE.png", help="Picture to write: .png, .svg or .pdf.")
    ],
    store: StoreUrl = _STORE,
    pairs: Pairs = None,
    thresholds: Levels = None,
    seed: FirstSeed = None,
    protocol: Protocols = None,
    json: Json = False,
) -> None:
    """Draw Figure 1: length and beads against the threshold, with fits."""
    from thalweg.plots.figure1 import save_figure1
    from thalweg.plots.figure1_info import compute_figure1
    from thalweg.study.export import read_csv
    from thalweg.study.summary import choose

    if name.endswith(".csv"):
        rows = choose(
            read_csv(Path(name)), pairs=pairs, thresholds=_numbers(thresholds), seed=seed,
            protocols=_words(protocol),
        )  # fmt: skip
    else:
        kept = _open(store, None, create=False)
        rows = _chosen(kept, _name(name), pairs, thresholds, seed, protocol)
    info = compute_figure1(rows)
    save_figure1(info, out)
    if json:
        print_json({"file": str(out), **asdict(info)})
    else:
        say(f"written: {out}")


@study_app.command("list", epilog="Example:  thalweg study list --store q.db")
def list_studies(store: StoreUrl = _STORE, json: Json = False) -> None:
    """List the studies that come with the package, and those that the store has."""
    from thalweg.study import load_study, study_names
    from thalweg.study.claims import describe

    known = [load_study(name) for name in study_names()]
    there = _open(store, None, create=False).studies() if "://" in store or Path(
        store
    ).exists() else {}  # fmt: skip
    if json:
        print_json({
            "studies": [{"name": study.name, "summary": study.summary} for study in known],
            "store": {name: describe(tally) for name, tally in there.items()},
        })  # fmt: skip
        return
    summaries = {study.name: study.summary for study in known}
    names = dict.fromkeys((*summaries, *there))
    print_table(
        ("study", "what it asks", f"cells in {store}"),
        [
            (name, summaries.get(name, "of your own"),
             f"{there[name].done} of {there[name].total} done" if name in there else "")
            for name in names
        ],
    )  # fmt: skip


def _load(name: str) -> Study:
    from thalweg.study import load_study

    return load_study(name)


def _name(name: str) -> str:
    """The name by which a store knows a study."""
    return _load(name).name if name.endswith(".toml") else name


def _open(where: str, files: Path | None, *, create: bool) -> Store:
    from thalweg.study import Store

    return Store(where, files, create=create)


def _chosen(
    store: Store,
    study: str,
    pairs: int | None,
    thresholds: str | None,
    seed: int | None,
    protocol: str | None,
) -> list[Row]:
    from thalweg.study.summary import choose

    return choose(
        store.rows(study), pairs=pairs, thresholds=_numbers(thresholds), seed=seed,
        protocols=_words(protocol),
    )  # fmt: skip


def _table(
    store: Store, study: str, rows: list[Row] | None = None
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Columns and lines of the table that is shown."""
    from thalweg.study.summary import summarize

    levels = summarize(store.rows(study) if rows is None else rows)
    columns = ("task", "protocol", "method", "L0", "connected", "length", "beads", "components")
    several = any(level.components is not None for level in levels)
    lines = [_line(level) for level in levels]
    return (columns, lines) if several else (columns[:-1], [line[:-1] for line in lines])


def _line(level: Level) -> tuple[str, ...]:
    others = [
        f"{count} {what}"
        for count, what in (
            (level.not_connected, "not"), (level.failed, "failed"), (level.pending, "pending"),
        )
        if count
    ]  # fmt: skip
    return (
        level.task, level.protocol, level.method, f"{level.threshold:g}",
        ", ".join([f"{level.connected} of {level.pairs}", *others]),
        _mean(level.length, ".3f"), _mean(level.beads, ".2f"),
        _components(level),
    )  # fmt: skip


def _components(level: Level) -> str:
    if level.components is None:
        return ""
    return f"{level.components} of {level.networks} networks" if level.networks else "no networks"


def _mean(value: Mean | None, form: str) -> str:
    if value is None:
        return "-"
    error = "" if value.error is None else f" ± {value.error:{form}}"
    return f"{value.value:{form}}{error}"


def _words(text: str | None) -> list[str] | None:
    return None if text is None else [word.strip() for word in text.split(",") if word.strip()]


def _numbers(text: str | None) -> list[float] | None:
    words = _words(text)
    try:
        return None if words is None else [float(word) for word in words]
    except ValueError as error:
        raise InputError(
            f"expected thresholds such as 0.1,0.05, got '{text}': separate numbers by commas"
        ) from error


def _resources(given: list[str] | None) -> dict[str, float]:
    resources: dict[str, Any] = {}
    for text in given or ():
        name, _, number = text.partition("=")
        try:
            resources[name] = float(number)
        except ValueError:
            resources[name] = -1.0
        if not name or resources[name] <= 0:
            raise InputError(f"expected NAME=N such as GPU=1 for --resource, got '{text}'")
    return resources
