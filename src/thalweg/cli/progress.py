"""Progress on stderr: a bar on a terminal, elsewhere a line every few seconds."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from thalweg.connect import Progress

if TYPE_CHECKING:  # it needs SQLAlchemy, which nobody else should wait for
    from thalweg.study import StudyProgress

# Least seconds between two plain lines.
_EVERY = 3.0


class Display:
    """Shows how far a piece of work has come; a context manager.

    Its methods fit the progress callbacks of the API.

    Args:
        what: the work, in a word or two.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._bar: Bar | None = None
        self._begin = self._last = time.monotonic()

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            self._bar = Bar(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                TextColumn("{task.fields[text]}", markup=False),
                TimeElapsedColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._bar.add_task(self._what, total=None, text="")
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def search(self, progress: Progress) -> None:
        """Show the state of a search for a path."""
        done, waiting = progress.beads_done, progress.beads_open
        parts = [
            f"beads {done} done, {waiting} open",
            f"depth {progress.depth}",
            f"steps {progress.steps:,}",
            f"segments {progress.segments_open} open",
        ]
        if progress.pairs > 1:
            parts.append(f"pairs {progress.pairs - progress.pairs_open} of {progress.pairs} done")
        self._show(", ".join(parts), done, done + waiting or None)

    def study(self, progress: StudyProgress) -> None:
        """Show how far a study has come."""
        tally = progress.tally
        ended = tally.done + tally.failed
        parts = [
            f"cells {tally.done} done, {tally.running} running, {tally.failed} failed, "
            f"{tally.open} open of {tally.total}"
        ]
        if progress.seconds_left is not None and ended < tally.total:
            parts.append(f"about {_duration(progress.seconds_left)} left")
        self._show(", ".join([*parts, progress.text] if progress.text else parts),
                   ended, tally.total)  # fmt: skip

    def steps(self, steps: int) -> None:
        """Show the steps of a training."""
        self._show(f"{steps:,} steps")

    def steps_of(self, done: int, total: int) -> None:
        """Show how many steps of a training of known length have been taken."""
        self._show(f"{done:,} of {total:,} steps", done, total)

    def points(self, done: int, total: int) -> None:
        """Show how many points of a path have been looked at."""
        self._show(f"{done:,} of {total:,} points", done, total)

    def _show(self, text: str, done: int = 0, total: int | None = None) -> None:
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=done, total=total, text=text)
            return
        now = time.monotonic()
        # The longer it takes, the less often: an hour gives some tens of lines.
        if now - self._last >= max(_EVERY, (now - self._begin) / 10):
            self._last = now
            print(f"{self._what}: {text}, {now - self._begin:.0f} s", file=sys.stderr, flush=True)


def _duration(seconds: float) -> str:
    """A time to wait, in two figures.

    Example:
        >>> _duration(42), _duration(600), _duration(9000)
        ('42 s', '10 min', '2.5 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
