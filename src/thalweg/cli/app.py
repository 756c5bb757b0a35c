"""The command ``thalweg``: its commands, and how each of them ends.

Exit status: 0 done and, for ``connect``, connected; 2 bad input; 3 a clean negative; 1 only for a
fault of ours; 130 interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, cast

import typer

from thalweg.cli import (
    align,
    atlas,
    basin,
    compare,
    connect,
    demo,
    edge,
    plane,
    plot,
    report,
    spectrum,
    study,
    surface,
    tasks,
    theory,
    train,
    trajectory,
    valley,
    verify,
)
from thalweg.cli.console import NEGATIVE, complain
from thalweg.connect import TrainingError, versions
from thalweg.errors import ThalwegError, VerificationError

BAD_INPUT = 2
INTERRUPTED = 130

# Typer has a copy of click in it from some version on: found through a name that is public in both.
_UsageError = cast(type[Exception], typer.BadParameter.__bases__[0])

app = typer.Typer(
    name="thalweg",
    help="Join trained neural networks by paths along which a criterion stays below a threshold.",
    epilog="Start with:  thalweg demo",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
for module, example in (
    (demo.demo, "thalweg demo --out demo"),
    (tasks.tasks, "thalweg tasks --json"),
    (train.train, "thalweg train digits --threshold 0.1 --seed 0 --out a.safetensors"),
    (connect.connect, "thalweg connect a.safetensors b.safetensors --task digits --threshold 0.1"),
    (
        compare.compare,
        "thalweg compare a.safetensors b.safetensors --task digits --threshold 0.1",
    ),
    (align.align, "thalweg align a.safetensors b.safetensors --task digits --out c.safetensors"),
    (atlas.atlas, "thalweg atlas --task quadratic --models 20 --levels 0.01,0.05,0.1"),
    (spectrum.spectrum, "thalweg spectrum a.safetensors --task digits --top 5"),
    (basin.basin, "thalweg basin a.safetensors --task digits --level 0.2"),
    (valley.valley, "thalweg valley connection"),
    (edge.edge, "thalweg edge --task digits --learning-rates 0.1,0.05 --out edge.png"),
    (surface.surface, "thalweg surface a.safetensors --task digits --out surface.png"),
    (plane.plane, "thalweg plane connection --shape 51"),
    (
        trajectory.trajectory,
        "thalweg trajectory training.safetensors --task digits --out trajectory.png",
    ),
    (plot.plot, "thalweg plot connection --what string --out string.pdf"),
    (verify.verify, "thalweg verify connection --points 33"),
    (report.report, "thalweg report connection --out report.html"),
):
    app.command(epilog=f"Example:  {example}")(module)
app.add_typer(theory.theory_app(), name="theory")
app.add_typer(study.study_app, name="study")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: the arguments after the program's name; None: those of the process.

    Returns:
        The exit status.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        status = app(
            args=arguments or ["--help"],
            prog_name="thalweg",
            standalone_mode=False,
            obj=["thalweg", *arguments],
        )
        if status == INTERRUPTED:  # what newer versions of Typer make of Ctrl-C
            complain("interrupted")
        return status if isinstance(status, int) else 0
    except _UsageError as error:
        message = cast(typer.BadParameter, error).format_message().rstrip(".")
        complain(f"{message}: see {_help(arguments)}")
        return BAD_INPUT
    except (TrainingError, VerificationError) as error:
        complain(str(error))
        return NEGATIVE
    except ThalwegError as error:
        complain(str(error))
        return BAD_INPUT
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        complain(
            f"expected to read and write files, got '{error.strerror or error}'{where}: "
            "free some space or choose another place"
        )
        return BAD_INPUT
    except (KeyboardInterrupt, typer.Abort):
        complain("interrupted")
        return INTERRUPTED


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"thalweg {versions()['thalweg']}")
        raise typer.Exit


@app.callback()
def _thalweg(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Print the version and exit.",
            is_eager=True,
            callback=_print_version,
        ),
    ] = False,
) -> None:
    pass


def _help(arguments: Sequence[str]) -> str:
    """The command that would have helped."""
    known = {command.callback.__name__ for command in app.registered_commands if command.callback}
    known |= {group.name for group in app.registered_groups if group.name}
    own = arguments[0] + " " if arguments and arguments[0] in known else ""
    return f"thalweg {own}--help"
