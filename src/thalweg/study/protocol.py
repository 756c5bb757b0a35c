"""The two protocols: what is trained to where, and below which level the path must stay.

*strict*: endpoints and beads are trained to α·L0, the direct segment is tested first, the whole
path is at or below L0 itself.

*paper*: as the published runs of Freeman & Bruna 2017 were done (``docs/protocol.md``), with two of
their faults repaired. Endpoints are trained to L0 and beads to α·L0; the midpoint is inserted
without a look at the direct segment; beads start at t* of the segment, take plain steps on the full
batch or on minibatches, at most 10 rounds; a segment is accepted at mult·L0. Ours: that level is
held by a certificate instead of a grid, and a pair that does not connect stays in the table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from thalweg.connect import make_method, option_names
from thalweg.errors import InputError
from thalweg.study.problem import Facts
from thalweg.study.spec import Limits, Problem, Protocol, Search


@dataclass(frozen=True)
class Published:
    """Constants of one of the published runs.

    Attributes:
        alpha: beads are trained to ``alpha``·L0.
        mult: a segment is accepted at ``mult``·L0.
        t_star: where on a refused segment a bead starts.
    """

    alpha: float
    mult: float
    t_star: str


PUBLISHED = {
    "quadratic": Published(0.95, 1.1, "middle"),
    "cubic": Published(0.95, 1.1, "middle"),
    "mnist-cnn": Published(0.98, 1.02, "argmax"),
    "cifar10-cnn": Published(0.98, 1.1, "argmax"),
    "ptb-lstm": Published(0.98, 1.1, "middle"),
}
"""By task; others take those of the polynomials."""

_ROUNDS = 10


@dataclass(frozen=True)
class Rules:
    """What a protocol means for one problem, threshold and method.

    Attributes:
        target: endpoints are trained to this.
        level: the path must be at or below this.
        options: of the method.
        plain: beads take the steps that endpoints take, and no samples of growing size.
        depth: how often a segment may be split.
    """

    target: float
    level: float
    options: dict[str, Any]
    plain: bool
    depth: int


def rules(
    protocol: Protocol,
    problem: Problem,
    known: Facts,
    method: Search,
    threshold: float,
    limits: Limits,
) -> Rules:
    """Spell a protocol out.

    Args:
        protocol: which.
        problem: of the study.
        known: of that problem.
        method: with the options that the study gives.
        threshold: L0.
        limits: of each search.

    Raises:
        InputError: if the protocol does not go with the method or its options.
    """
    given = dict(method.options)
    if protocol == "strict":
        if "mult" in given:
            raise InputError(
                "expected no option mult with the strict protocol, which accepts at L0 itself, got "
                f"mult={given['mult']}: leave it out, or choose --protocol paper"
            )
        of_task = {"alpha": known.alpha, "t_star": known.t_star}
        names = option_names(method.name)
        options = {key: value for key, value in of_task.items() if key in names} | given
        make_method(method.name, **options)  # refuses options that it does not have
        return Rules(known.alpha * threshold, threshold, options, False, limits.depth)
    if method.name != "greedy":
        raise InputError(
            f"expected the method greedy with the protocol of the paper, got '{method.name}': "
            "choose --protocol strict"
        )
    published = PUBLISHED.get(problem.task or "", PUBLISHED["quadratic"])
    alpha, mult = (float(given.pop(name, getattr(published, name))) for name in ("alpha", "mult"))
    if not (0 < alpha <= 1 <= mult < float("inf")):
        raise InputError(f"expected 0 < alpha <= 1 <= mult, got alpha={alpha} and mult={mult}")
    level = mult * threshold
    options = {"t_star": published.t_star, "start": "segment", "direct": False, **given}
    # Beads go to alpha·L0, which the method counts from the level of the path.
    options["alpha"] = alpha / mult
    make_method(method.name, **options)
    return Rules(threshold, level, options, True, min(limits.depth, _ROUNDS))
