"""Run a benchmark: ``python -m benchmarks NAME [--json]``."""

from __future__ import annotations

import argparse
import inspect
import json
import sys

from benchmarks import memory, mnist_mlp, quadratic_sweep, scaling
from thalweg.errors import ThalwegError

BENCHMARKS = {
    "quadratic-sweep": quadratic_sweep.run,
    "mnist-mlp": mnist_mlp.run,
    "scaling": scaling.run,
    "memory": memory.run,
}


def main() -> int:
    """Parse the command line, run, print; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", nargs="?", choices=BENCHMARKS)
    parser.add_argument("--list", action="store_true", help="names and what each measures")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    for option, kind in (("pairs", int), ("threshold", float), ("rounds", int), ("seed", int),
                         ("check-every", int), ("certificate", str), ("beads", int),
                         ("parameters", int), ("memory-limit", int)):  # fmt: skip
        parser.add_argument(f"--{option}", type=kind)
    given = parser.parse_args()
    if given.list or given.name is None:
        for name, run in BENCHMARKS.items():
            print(f"{name:16} {inspect.getdoc(inspect.getmodule(run))}")
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
    print(f"{document['name']}: {document['pairs']} pairs at L0 = {document['threshold']:g}")
    print(f"{'':20}{'ours':>14}{'reference':>14}{'ratio':>10}")
    for key, ratio in document["ratios"].items():
        mine, theirs = document["ours"][key], document["reference"][key]
        print(f"{key:20}{mine:14.6g}{theirs:14.6g}{ratio:10.2f}")
    for key in ("beads", "connected"):
        print(f"{key:20}{document['ours'][key]:14}{document['reference'][key]:14}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
