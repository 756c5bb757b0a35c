"""Choice of a strategy and of chunk sizes, by a short measurement, remembered on disk.

The choice changes rounding in the last digits, and training amplifies those. So that the same
seed gives the same result on the same machine, a choice is made once a (model, data shape, stack
size, device) and kept in a small file under ``THALWEG_CACHE`` (default: the user's cache folder).
Where several processes measure at once, the first to write the file decides for all of them.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from thalweg.errors import InputError
from thalweg.objective.strategies import STRATEGIES
from thalweg.parameters.checkpoint import replacing

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None

log = logging.getLogger(__name__)

# A candidate must beat the present choice by this factor to replace it: noise is not a reason.
_GAIN = 1.15
# Runs of a candidate, and seconds after which it has been timed well enough.
_RUNS = 5
_SECONDS = 0.1
# Seconds of measuring after which the best candidate so far will do.
_PATIENCE = 3.0
# Seconds that one run of a candidate may be expected to take.
_LONGEST = 0.3


@dataclass(frozen=True)
class Plan:
    """How a stack is carried out.

    Attributes:
        strategy: a name in :data:`~thalweg.objective.strategies.STRATEGIES`.
        models: models carried out together.
        examples: examples of one chunk.
    """

    strategy: str
    models: int
    examples: int


def power_of_two(number: int) -> int:
    """The largest power of two that is not larger, so that few sizes are measured.

    Args:
        number: at least 1.

    Example:
        >>> power_of_two(1), power_of_two(63), power_of_two(64)
        (1, 32, 64)
    """
    return 1 << (number.bit_length() - 1)


class NoPlan(InputError):
    """No candidate can carry out the work, or none agrees with the loop."""


class Planner:
    """Measures candidates once a key and remembers the fastest.

    Args:
        identity: what distinguishes this objective and machine from others.
        strategy: fixed by the user, or None to measure.
        remembers: whether it reads and writes the file; if not, it measures anew.

    Attributes:
        measured: seconds a model-example of every plan that was tried, by key.
    """

    def __init__(
        self, identity: str, strategy: str | None = None, *, remembers: bool = True
    ) -> None:
        self._identity = identity
        self._fixed = strategy
        self._remembers = remembers
        self._chosen: dict[str, Plan] = {}
        self.measured: dict[str, dict[Plan, float]] = {}

    def choose(
        self,
        key: str,
        candidates: Iterable[Plan],
        run: Callable[[Plan], int],
        agrees: Callable[[Plan], bool],
    ) -> Plan:
        """The fastest plan that agrees with the first one, which works for every model.

        Args:
            key: what else the choice depends on (kind of work, stack size).
            candidates: plans, the first of which works for every model.
            run: carries a plan out once and returns the model-examples it got through; it may
                raise RuntimeError where the plan does not apply.
            agrees: whether a plan's strategy gives the results of the loop, on a few points; it
                may raise likewise.
        """
        if key in self._chosen:
            return self._chosen[key]
        strategies = "+".join(sorted(STRATEGIES))
        full_key = f"{self._identity} {strategies} {key} {self._fixed or 'measured'}"
        known = _read().get(full_key) if self._remembers else None
        if known is not None and _holds(known, agrees):
            plan = known
        else:
            plan = self._measure(candidates, run, agrees, self.measured.setdefault(key, {}))
            if self._remembers:
                plan = _remember(full_key, plan, instead_of=known)
            log.info("%s: %s", full_key, plan)
        self._chosen[key] = plan
        return plan

    @property
    def fixed(self) -> str | None:
        """The strategy that the user asked for."""
        return self._fixed

    @property
    def plans(self) -> dict[str, Plan]:
        """The plans in use, by key."""
        return dict(self._chosen)

    @property
    def chosen(self) -> dict[str, dict[str, str | int]]:
        """The plans in use, by key, as records show them."""
        return {key: asdict(plan) for key, plan in self._chosen.items()}

    def _measure(
        self,
        candidates: Iterable[Plan],
        run: Callable[[Plan], int],
        agrees: Callable[[Plan], bool],
        measured: dict[Plan, float],
    ) -> Plan:
        best: tuple[float, Plan] | None = None
        failure: RuntimeError | None = None
        trusted: dict[str, bool] = {}
        end = time.monotonic() + _PATIENCE
        for plan in candidates:
            if best is not None:
                if time.monotonic() > end:
                    break
                if plan.models * plan.examples * best[0] > _LONGEST:
                    continue  # measuring it would cost more than it can tell
            if self._fixed and plan.strategy != self._fixed:
                continue
            try:
                if plan.strategy not in trusted:
                    trusted[plan.strategy] = agrees(plan)
                    if not trusted[plan.strategy]:
                        log.warning("%s differs from the loop beyond rounding: dropped", plan)
                if not trusted[plan.strategy]:
                    continue
                seconds = _time(plan, run, enough=math.inf if best is None else 3 * best[0])
            except RuntimeError as error:
                failure = failure or error
                log.info("%s does not apply: %s", plan, error)
                continue
            measured[plan] = seconds
            if best is None or seconds * _GAIN < best[0]:
                best = (seconds, plan)
        if best is None:
            how = f"strategy '{self._fixed}'" if self._fixed else "any strategy"
            first = (str(failure).splitlines() or ["no candidate"])[0]
            raise NoPlan(
                f"expected a model and loss that {how} can carry out, got '{first}': "
                "check its forward and loss, or leave the choice of a strategy to measurement"
            ) from failure
        return best[1]


def _holds(plan: Plan, agrees: Callable[[Plan], bool]) -> bool:
    """Whether a remembered plan works: code may have changed since under the same name."""
    try:
        return agrees(plan)
    except RuntimeError as error:
        log.info("%s does not apply any more: %s", plan, error)
        return False


def _time(plan: Plan, run: Callable[[Plan], int], enough: float) -> float:
    """Seconds a model-example: the least of a few runs, since other work only ever adds."""
    run(plan)  # the first call pays for warming up
    least, spent = math.inf, 0.0
    for _ in range(_RUNS):
        start = time.perf_counter()
        work = run(plan)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds = time.perf_counter() - start
        least = min(least, seconds / work)
        spent += seconds
        if least > enough or spent > _SECONDS:
            break
    return least


def _file() -> Path:
    if "THALWEG_CACHE" in os.environ:
        return Path(os.environ["THALWEG_CACHE"]) / "plans.json"
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "thalweg/plans.json"


def _read() -> dict[str, Plan]:
    try:
        content = json.loads(_file().read_text())
        return {key: Plan(**plan) for key, plan in content.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}  # no memory, or one of another version: measure again


def _remember(key: str, plan: Plan, instead_of: Plan | None) -> Plan:
    """Write a plan down; the one that stands there then.

    Another process may have written one since this one began to measure: that one is taken.
    A cache that cannot be written costs time, not correctness.
    """
    with contextlib.suppress(InputError, OSError), _alone():
        written = _read()
        if key in written and written[key] != instead_of:
            return written[key]
        content = {k: asdict(p) for k, p in written.items()} | {key: asdict(plan)}
        with replacing(_file()) as temporary:
            temporary.write_text(json.dumps(content, indent=1, sort_keys=True))
    return plan


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Keep other processes from writing meanwhile, where the system has such locks."""
    if fcntl is None:
        yield
        return
    _file().parent.mkdir(parents=True, exist_ok=True)
    with _file().with_suffix(".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
