"""``thalweg atlas``: train many models of a task, and find the levels at which they are joined."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import thalweg
from thalweg.cli.console import print_facts, print_json, print_sentence, print_table, say
from thalweg.cli.options import (
    DataDir,
    Device,
    Json,
    MaxSeconds,
    MaxSteps,
    ProblemName,
    Seed,
    TaskName,
    Threads,
    set_threads,
)
from thalweg.documents import finite
from thalweg.errors import InputError
from thalweg.parameters import replacing

if TYPE_CHECKING:  # SQLAlchemy takes a while to import, which no other command should wait for
    from thalweg.plots.disconnectivity_info import DisconnectivityInfo
    from thalweg.topology import Atlas


def atlas(
    levels: Annotated[
        str, typer.Option(metavar="L0,L0,…", help="Levels, in the units of the criterion.")
    ],
    task: TaskName = None,
    problem: ProblemName = None,
    models: Annotated[int, typer.Option(min=2, metavar="M", help="How many minima.")] = 8,
    seed: Seed = 0,
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Of the atlas in the store; default: of the task."),
    ] = None,
    store: Annotated[
        str,
        typer.Option(metavar="URL", help="Where it is kept: an SQLite file, or PostgreSQL's URL."),
    ] = "studies.db",
    files: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of the weights; default: beside the SQLite file."),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of pictures and tables.")] = Path(
        "atlas"
    ),
    align: Annotated[
        bool, typer.Option(help="Up to the symmetries of the network: align each pair before.")
    ] = False,
    method: Annotated[str, typer.Option(metavar="NAME", help="See thalweg connect.")] = "greedy",
    certificate: Annotated[
        str | None, typer.Option(metavar="proved|sampled", help="Default: the task's.")
    ] = None,
    attempts: Annotated[
        int | None,
        typer.Option(min=0, metavar="N", help="Searches a level may take; default: 3 a model."),
    ] = None,
    max_steps: MaxSteps = thalweg.Budget.steps,
    max_seconds: MaxSeconds = None,
    data_dir: DataDir = None,
    device: Device = None,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Train many models and find at which levels they are joined; goes on where it was stopped."""
    from thalweg.plots.disconnectivity import disconnectivity_figure
    from thalweg.plots.disconnectivity_info import compute_disconnectivity
    from thalweg.plots.files import write_figure
    from thalweg.study import Store, run_atlas
    from thalweg.study.spec import Problem

    set_threads(threads)
    ladder = _levels(levels)
    if (task is None) == (problem is None):
        raise InputError("expected one of --task and --problem: name what the models are of")
    called = name or f"{task or problem}{' aligned' if align else ''}"
    kept = Store(store, files)
    try:
        found = run_atlas(
            kept, called, Problem(task=task, problem=problem, thresholds=tuple(ladder)), ladder,
            models=models, seed=seed, align=align, method=method, certificate=certificate,
            attempts=attempts, budget=thalweg.Budget(steps=max_steps, seconds=max_seconds),
            data_dir=data_dir, device=device, progress=say,
        )  # fmt: skip
    finally:
        kept.close()
    info = compute_disconnectivity(found, ladder)
    out.mkdir(parents=True, exist_ok=True)
    figure = disconnectivity_figure(info)
    for suffix in ("png", "svg"):
        write_figure(figure, out / f"disconnectivity.{suffix}")
    for file, content in _tables(found, info).items():
        with replacing(out / file) as temporary:
            temporary.write_text(content)
    if json:
        print_json(_document(found, info))
        return
    last = info.counts[0]
    print_sentence(
        f"{len(found.energies)} models, {sum(link.connected for link in found.links)} paths: at "
        f"{last.level:g} the models lie in at most {last.at_most} "
        f"component{'s' * (last.at_most != 1)}{' up to symmetry' if found.aligned else ''}.",
        good=last.at_most == 1,
    )
    print_table(
        ("level", "models at or below", "components at most", "at least (proved)"),
        ((f"{c.level:g}", str(c.minima), str(c.at_most), str(c.at_least)) for c in info.counts),
    )
    print_facts([
        ("searches", f"{len(found.links)}, of which {sum(x.connected for x in found.links)} "
         "found a path"),
        ("gradient samples", f"{sum(link.gradient_samples for link in found.links):,}"),
        ("files", f"{out}: disconnectivity.png, disconnectivity.svg, "
         f"{', '.join(_tables(found, info))}"),
        ("store", f"{store}, atlas '{called}'"),
    ])  # fmt: skip


def _levels(text: str) -> list[float]:
    try:
        return sorted({_level(part) for part in text.split(",")})
    except ValueError as error:
        raise InputError(
            f"expected levels > 0 with commas between, such as 0.05,0.1, got '{text}'"
        ) from error


def _level(text: str) -> float:
    level = float(text)
    if not 0 < level < float("inf"):
        raise ValueError(text)
    return level


def _document(atlas: Atlas, info: DisconnectivityInfo) -> dict[str, Any]:
    return {
        "criterion": atlas.criterion,
        "aligned": atlas.aligned,
        "minima": [float(energy) for energy in atlas.energies],
        "upper": [[finite(float(value)) for value in row] for row in atlas.upper],
        "lower": [[finite(float(value)) for value in row] for row in atlas.lower],
        "components": [vars(count) for count in info.counts],
        "links": [vars(link) | {"level": finite(link.level)} for link in atlas.links],
    }


def _tables(atlas: Atlas, info: DisconnectivityInfo) -> dict[str, str]:
    import networkx

    from thalweg.topology.export import to_networkx, to_pathsample

    minima, joins = to_pathsample(atlas)
    return {
        "components.csv": _csv(map(vars, info.counts)),
        "links.csv": _csv(vars(link) for link in atlas.links),
        "min.data": minima,
        "ts.data": joins,
        "graph.graphml": "\n".join(networkx.generate_graphml(to_networkx(atlas))),
    }


def _csv(rows: Iterable[dict[str, Any]]) -> str:
    from thalweg.plots.table import Table

    listed = list(rows)
    columns = tuple(listed[0]) if listed else ()
    return Table(columns, [tuple(row.values()) for row in listed]).csv()
