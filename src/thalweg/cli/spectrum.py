"""``thalweg spectrum``: the curvature of the training loss at a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, cast

import typer

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
from thalweg.cli.problem import load_problem
from thalweg.cli.progress import Display
from thalweg.geometry import Spectrum
from thalweg.geometry import spectrum as take_spectrum
from thalweg.geometry.products import MATRICES, Matrix


def spectrum(
    checkpoint: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="Where to look.")],
    task: TaskName = None,
    problem: ProblemName = None,
    top: Annotated[int, typer.Option(min=1, metavar="N", help="Of the largest eigenvalues.")] = 5,
    bottom: Annotated[int, typer.Option(min=0, metavar="N", help="Of the least.")] = 0,
    matrix: Annotated[
        str,
        typer.Option(metavar="|".join(MATRICES), help="Of second derivatives, whole or in part."),
    ] = MATRICES[0],
    layers: Annotated[
        bool, typer.Option("--layers", help="The largest eigenvalue of each layer, too.")
    ] = False,
    examples: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Of the training data; default: all of them."),
    ] = None,
    tolerance: Annotated[
        float, typer.Option(metavar="X", help="Of residuals, relative to the norm of the matrix.")
    ] = 1e-6,
    single: Annotated[
        bool, typer.Option("--single", help="Compute in the model's precision, not in float64.")
    ] = False,
    seed: Seed = 0,
    data_dir: DataDir = None,
    device: Device = None,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Extreme eigenvalues and the trace of the Hessian of the training loss at a model.

    Exit status: 0 done, and the record says whether the eigenvalues converged; 2 bad input.
    """
    set_threads(threads)
    objective = load_problem(task, problem, data_dir, device).objective
    if examples is not None:
        objective = objective.with_examples({objective.training.split: examples})
    with Display("curvature"):
        found = take_spectrum(
            objective, checkpoint, top=top, bottom=bottom,
            matrix=cast(Matrix, matrix),  # looked at there
            layers=layers, tolerance=tolerance, double=not single, seed=seed,
        )  # fmt: skip
    if json:
        print_json(found.document())
    else:
        show(found)


def show(found: Spectrum) -> None:
    """Print a spectrum for a person."""
    name = "Hessian" if found.matrix == "hessian" else "Gauss-Newton matrix"
    state = "" if found.converged else ", not converged"
    print_sentence(
        f"Largest eigenvalue of the {name}: {float(found.top[0]):.6g}{state}.",
        good=found.converged,
    )
    trace = found.trace
    how = "exact" if trace.exact else f"± {trace.standard_error:.2g}; {trace.why_estimated}"
    facts = [
        ("largest", _listed(found.top.tolist())),
        ("residuals", _listed(found.residuals.tolist())),
        ("trace", f"{trace.value:.6g} ({how})"),
        ("loss", f"{found.loss:.6g}, gradient {found.gradient_norm:.3g} long, "
                 f"on {found.examples:,} examples"),
        ("cost", f"{found.products} products with a vector"),
    ]  # fmt: skip
    if len(found.bottom):
        facts.insert(2, ("least", _listed(found.bottom.tolist())))
    facts += [(f"layer {layer}", f"{value:.6g}") for layer, value in found.layers.items()]
    print_facts(facts)


def _listed(values: list[float]) -> str:
    return ", ".join(f"{value:.6g}" for value in values)
