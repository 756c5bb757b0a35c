"""Run a benchmark: ``python -m benchmarks NAME [--json]``."""

from __future__ import annotations

import argparse
import inspect
import json
import sys
from collections.abc import Callable
from typing import Any

from benchmarks import (
    curvature,
    gemm,
    memory,
    mnist_cnn,
    mnist_mlp,
    proof,
    quadratic_sweep,
    scaling,
    spurious,
    surfaces,
)
from thalweg.errors import ThalwegError

BENCHMARKS: dict[str, Callable[..., dict[str, Any]]] = {
    "quadratic-sweep": quadratic_sweep.run,
    "mnist-mlp": mnist_mlp.run,
    "mnist-cnn": mnist_cnn.run,
    "proof": proof.run,
    "surface-mlp": surfaces.run_mlp,
    "surface-lenet": surfaces.run_lenet,
    "surface-tiny": surfaces.run_tiny,
    "gemm": gemm.run,
    "curvature": curvature.run,
    "scaling": scaling.run,
    "memory": memory.run,
    "spurious-minima": spurious.run,
}


def main() -> int:
    """Parse the command line, run, print; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", nargs="?", choices=BENCHMARKS)
    parser.add_argument("--list", action="store_true", help="names and what each measures")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    for option, kind in (("pairs", int), ("threshold", float), ("rounds", int), ("seed", int),
                         ("check-every", int), ("certificate", str), ("beads", int),
                         ("parameters", int), ("memory-limit", int), ("images", int), ("runs", int),
                         ("loop", int), ("k", int), ("n", int), ("case", str),
                         ("device", str)):  # fmt: skip
        parser.add_argument(f"--{option}", type=kind)
    given = parser.parse_args()
    if given.list or given.name is None:
        for name, run in BENCHMARKS.items():
            print(f"{name:16} {_summary(run)}")
        return 0
    run = BENCHMARKS[given.name]
    known = inspect.signature(run).parameters
    options = {k: v for k, v in vars(given).items() if k in known and v is not None}
    try:
        document = run(**options)
    except ThalwegError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2
    if given.json or "pairs" not in document:  # no reference to set it beside
        print(json.dumps(document))
        return 0
    print(table(document))
    return 0


def table(document: dict[str, Any]) -> str:
    """A document as text: what it is about, then ours, the reference and their ratio."""
    ours, reference, ratios = document["ours"], document["reference"], document["ratios"]
    about = document.get("about")
    if about is None:
        about = f"{document['pairs']} pairs at L0 = {document['threshold']:g}"
    lines = [f"{document['name']}: {about}", f"{'':26}{'ours':>14}{'reference':>14}{'ratio':>10}"]
    for key in dict.fromkeys((*ratios, *ours)):
        mine, theirs = ours.get(key), reference.get(key)
        if any(isinstance(value, dict) for value in (mine, theirs)):
            continue
        ratio = f"{ratios[key]:10.3g}" if key in ratios else ""
        lines.append(f"{key:26}{_cell(mine)}{_cell(theirs)}{ratio}".rstrip())
    return "\n".join(lines)


def _cell(value: object) -> str:
    return f"{value:14.6g}" if isinstance(value, float | int) else f"{value or '':>14}"


def _summary(run: Callable[..., object]) -> str:
    """First line of what a benchmark says of itself, or of its file."""
    own = (inspect.getdoc(run) or "").splitlines()[0]
    if own != "Run the benchmark.":
        return own
    return (inspect.getdoc(inspect.getmodule(run)) or "").splitlines()[0]


if __name__ == "__main__":
    sys.exit(main())
