"""A string of 1,000 beads of a network of 3 million parameters: resident memory against 2 GB."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.measure import machine
from benchmarks.turning import turning
from thalweg import Budget, InputError, Progress, connect, load_connection, verify


def run(
    *,
    beads: int = 1000,
    parameters: int = 3_000_000,
    memory_limit: int = 2_000_000_000,
    seed: int = 0,
) -> dict[str, Any]:
    """Connect, save, load and verify, and look at the peak of resident memory after each.

    Args:
        beads: of the string, at least.
        parameters: of the network, about.
        memory_limit: of the search, in bytes.
        seed: of weights and data.

    Raises:
        InputError: if the disk has no room for the path and its copies.
    """
    side = 2 * round((parameters / 2) ** 0.5 / 2)
    problem = turning(side, side, side, examples=4, seed=seed)
    objective, (a, b) = problem.objective, problem.pair()
    # Wide networks need somewhat fewer beads than the narrow ones that the estimate is from.
    level = problem.threshold(beads + beads // 4)
    path_bytes = beads * 4 * objective.layout.size
    with tempfile.TemporaryDirectory(prefix="thalweg-benchmark-") as name:
        folder = Path(name) / "connection"
        if shutil.disk_usage(name).free < 3 * path_bytes:
            raise InputError(
                f"expected {3 * path_bytes:,} bytes of room in {name} for three copies of the "
                "path, got less: name another folder in TMPDIR"
            )
        watch = _Watch()
        budget = Budget(beads=4 * beads, memory_limit=memory_limit)
        connection = connect(
            objective, a, b, threshold=level, certificate="sampled", seed=seed, budget=budget,
            progress=watch.look,
        )  # fmt: skip
        found = connection.beads
        outcome, seconds = str(connection.outcome), dict(connection.seconds)
        watch.mark("search")
        connection.save(folder)
        watch.mark("save")
        del connection
        loaded = load_connection(folder)
        watch.mark("load")
        checked = verify(loaded, objective, points=1)
        watch.mark("verify")
        size = (folder / "path.safetensors").stat().st_size
    return {
        "name": "memory",
        "ratios": {"peak / limit": watch.peaks["search"] / memory_limit,
                   "peak / path": max(watch.peaks.values()) / size},
        "ours": {
            "outcome": outcome,
            "beads": found,
            "parameters": objective.layout.size,
            "verified": checked.passed,
            "path_bytes": size,
            "peak_bytes": watch.peaks,
            "peak_anonymous_bytes": watch.anonymous,
            "seconds_until": watch.seconds,
            "seconds": seconds,
        },
        "reference": {"limit_bytes": memory_limit},
        "machine": machine(),
    }  # fmt: skip


class _Watch:
    """Resident memory of this process, above what it was when the watch was made.

    Attributes:
        peaks: bytes at the highest point of each stage.
        anonymous: the same without pages of mapped files, as seen at reports of progress.
        seconds: until the end of each stage.
    """

    def __init__(self) -> None:
        self._begin = time.perf_counter()
        _forget_peak()
        self._before = _status("VmRSS")
        self._anonymous_before = _status("RssAnon")
        self.peaks: dict[str, int] = {}
        self.seconds: dict[str, float] = {}
        self.anonymous = 0

    def look(self, progress: Progress) -> None:
        """Fits the callback of a search."""
        del progress
        self.anonymous = max(self.anonymous, _status("RssAnon") - self._anonymous_before)

    def mark(self, stage: str) -> None:
        """End a stage."""
        self.peaks[stage] = _status("VmHWM") - self._before
        self.seconds[stage] = time.perf_counter() - self._begin
        _forget_peak()


def _status(name: str) -> int:
    """A line of /proc/self/status, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return 1024 * int(line.split()[1])
    raise InputError(f"expected {name} in /proc/self/status, got none: this needs Linux")


def _forget_peak() -> None:
    """Let the peak of resident memory start anew from what is resident now."""
    Path("/proc/self/clear_refs").write_text("5")
