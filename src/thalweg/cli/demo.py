"""``thalweg demo``: the whole of it on handwritten digits, in seconds."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

import thalweg
from thalweg.cli import connect, train, verify
from thalweg.cli.console import finish, print_facts, print_json, print_sentence, say
from thalweg.cli.options import DEFAULT_PROFILE_POINTS, Json
from thalweg.cli.output import check_folder, save_connection
from thalweg.cli.pictures import write_plane
from thalweg.cli.problem import load_problem
from thalweg.cli.progress import Display
from thalweg.connect import PLANE_FILES
from thalweg.errors import InputError
from thalweg.report import save_report
from thalweg.tasks import get_task

_TASK = "digits"
_SEEDS = (0, 1)
# Points of the plane along each axis.
_PLANE = 41


def demo(
    context: typer.Context,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the results.")] = Path("demo"),
    json: Json = False,
) -> None:
    """Train two networks on handwritten digits, connect them, check and draw the path."""
    check(out)
    begin = time.monotonic()
    task = get_task(_TASK)
    level = task.default_threshold
    problem = load_problem(_TASK, None, None, None)
    criterion = f"{task.criterion.name} on {task.criterion.split}"

    say(f"1. Training two networks ({task.architecture}) on {task.summary}, seeds 0 and 1 ...")
    with Display("training") as display:
        models = [
            train.run(task, problem.objective, level, seed, progress=display.steps)
            for seed in _SEEDS
        ]
    say(f"2. Connecting them with {criterion} at or below {level:g} all the way ...")
    with Display("connecting") as display:
        connection = thalweg.connect(
            problem.objective, models[0].theta, models[1].theta, threshold=level,
            method=problem.method("greedy"), certificate=problem.certificate,
            progress=display.search,
        )  # fmt: skip
    connection = connect.complete(connection, problem, DEFAULT_PROFILE_POINTS, context.obj)
    say("3. Checking the path on other points, in float64 ...")
    with Display("verifying") as display:
        found = thalweg.verify(connection, problem.objective, progress=display.points)
    say("4. Writing files and pictures ...")
    save_connection(connection, out / "connection")
    files = [out / "a.safetensors", out / "b.safetensors"]
    for file, model, seed in zip(files, models, _SEEDS, strict=True):
        train.save(file, task, problem.objective, model, level, seed)
    with Display("plane") as display:
        plane = thalweg.connection_plane(
            connection, problem.objective, shape=_PLANE, progress=display.points
        )
    # Imported here: matplotlib takes a second, which nobody else should wait for.
    from thalweg.plots import save_profile

    write_plane(plane, out / "connection" / PLANE_FILES[0], "heat")
    save_profile(connection, out / "profile.png")
    save_report(connection, out / "report.html", plane)

    seconds = time.monotonic() - begin
    if json:
        print_json(
            {
                "folder": str(out),
                "checkpoints": [
                    {**train.describe(task, model, level, seed), "file": str(file)}
                    for file, model, seed in zip(files, models, _SEEDS, strict=True)
                ],
                "connection": connection.document(),
                "verification": verify.describe(found),
                "report": str(out / "report.html"),
                "seconds": seconds,
            }
        )
    else:
        connect.show(connection, [("files", str(out))])
        verify.show(found, criterion)
        print_sentence(f"Done in {seconds:.0f} s; open {out / 'report.html'} first.", good=True)
        print_facts(_next(out))
    finish(negative=not (connection.connected and found.passed))


def check(folder: Path) -> None:
    """Refuse a folder in which the demo would overwrite somebody else's files.

    Args:
        folder: of the results.

    Raises:
        InputError: if it holds anything and is not an earlier demo's.
    """
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "connection").is_dir():
        raise InputError(
            f"expected a new folder or one of an earlier demo for --out, got {folder}, which holds "
            "other files: choose another name"
        )
    check_folder(folder / "connection")


def _next(out: Path) -> list[tuple[str, str]]:
    ends = f"{out / 'a.safetensors'} {out / 'b.safetensors'}"
    return [
        ("try next", f"thalweg verify {out / 'connection'} --points 101"),
        ("", f"thalweg connect {ends} --task {_TASK} --threshold 0.2 --out looser"),
        ("", f"thalweg train {_TASK} --threshold 0.05 --seed 7 --out c.safetensors"),
        ("", "thalweg connect a.pt b.pt --problem own_model.py:problem --threshold L0"),
    ]
