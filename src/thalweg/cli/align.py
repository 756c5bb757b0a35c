"""``thalweg align``: move one network by its symmetries to lie near another."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

import thalweg
from thalweg.cli.console import print_facts, print_json, print_sentence
from thalweg.cli.options import (
    DataDir,
    Device,
    Json,
    ProblemName,
    Seed,
    TaskName,
    Threads,
    set_threads,
)
from thalweg.cli.output import check_file
from thalweg.cli.problem import load_problem
from thalweg.cli.progress import Display
from thalweg.connect import versions
from thalweg.symmetry import METHODS, Alignment


def align(
    a: Annotated[Path, typer.Argument(metavar="A", help="The checkpoint that stays.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="The one that is moved.")],
    out: Annotated[Path, typer.Option(metavar="FILE.safetensors", help="Checkpoint to write.")],
    task: TaskName = None,
    problem: ProblemName = None,
    method: Annotated[
        str,
        typer.Option(
            metavar="weights|activations",
            help="Match units by their weights, or by what they compute on training data.",
        ),
    ] = METHODS[0],
    rescale: Annotated[
        bool,
        typer.Option("--rescale", help="Match the sizes of relu units, too."),
    ] = False,
    restarts: Annotated[
        int, typer.Option(min=0, metavar="N", help="Random starts of weight matching.")
    ] = 0,
    seed: Seed = 0,
    data_dir: DataDir = None,
    device: Device = None,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Move network B by the symmetries of its architecture to lie near A; its function stays.

    Units change places (and with --rescale sizes) wherever the model's graph shows that the
    function does not depend on it; statistics of BatchNorm move along.
    """
    check_file(out, ".safetensors")
    set_threads(threads)
    loaded = load_problem(task, problem, data_dir, device)
    with Display("aligning"):
        found = thalweg.align(
            loaded.objective, a, b, method=method, rescale=rescale, seed=seed, restarts=restarts
        )
    metadata = {"aligned_to": str(a), "from": str(b), "method": method, **versions()}
    thalweg.save_checkpoint(out, found.state_dict, metadata)
    if json:
        print_json(describe(found, out))
        return
    print_sentence(f"Aligned: {found.after:.6g} away from A, {found.before:.6g} before.", good=True)
    units = {name: _moved_units(found, name) for name in found.permutations}
    moved = ", ".join(f"{n} of {len(found.permutations[name])} in {name}"
                      for name, n in units.items())  # fmt: skip
    print_facts(
        [
            ("units moved", moved or "none"),
            ("outputs changed", f"by at most {found.max_output_change:.3g}"),
            *([("left in place", f"what {', '.join(found.fixed_by)} sees")]
              if found.fixed_by else []),
            ("file", str(out)),
        ]
    )  # fmt: skip


def describe(found: Alignment, out: Path) -> dict[str, Any]:
    """An alignment as a JSON document."""
    return {
        "before": found.before,
        "after": found.after,
        "max_output_change": found.max_output_change,
        "method": found.method,
        "seed": found.seed,
        "rescaled": found.log_sizes is not None,
        "families": [
            {"name": name, "units": len(permutation), "moved": _moved_units(found, name)}
            for name, permutation in found.permutations.items()
        ],
        "fixed_by": list(found.fixed_by),
        "file": str(out),
    }


def _moved_units(found: Alignment, name: str) -> int:
    return sum(i != unit for i, unit in enumerate(found.permutations[name].tolist()))
