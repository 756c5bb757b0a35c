"""Constrained Dynamic String Sampling (Freeman & Bruna 2017, Appendix A).

A bead θ_i is trained on the loss

    F̃(θ_i) = F(θ_i) + ζ (‖θ_{i−1} − θ_i‖ + ‖θ_{i+1} − θ_i‖) + κ |û · (θ_i − m)|,

    m = (θ_{i−1} + θ_{i+1})/2,    û = (θ_{i+1} − θ_{i−1})/‖θ_{i+1} − θ_{i−1}‖.

The last term is what the printed formula must mean. As printed, it holds `(θ_{i−1} − θ_{i+1})/2`
in both factors; but the text wants the term to measure "how far off the hyperplane a new model can
deviate", the hyperplane of the points equidistant from both neighbours. From

    ‖θ − θ_{i−1}‖² − ‖θ − θ_{i+1}‖² = 2 (θ_{i+1} − θ_{i−1}) · (θ − m)

that hyperplane is `û · (θ − m) = 0`, with the *sum* of the neighbours in m, and `|û · (θ − m)|` is
the distance from it. Where the print also divides by the length of the second factor, the term
would be the cosine of an angle, which has no value at the bead's start, θ = m, and no power to
pull a bead that is far away: a distance, in the unit of the ζ term, it is here.

The text first names the constraint itself, and κ as its softer form. Both are here: without κ the
bead is kept on the hyperplane exactly, which is the limit of large κ.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from thalweg.connect.bead import Constraint
from thalweg.connect.driver import Search
from thalweg.connect.freeman2017sampling import StringSampling
from thalweg.connect.string import Piece, String
from thalweg.errors import InputError
from thalweg.paths import interpolate


@dataclass(frozen=True)
class Constrained(StringSampling):
    """Dynamic String Sampling whose beads stay equidistant from their neighbours.

    A refused segment gets a bead at its middle, which is trained to α·L0 on the hyperplane
    equidistant from the segment's ends; then both halves are tested in turn, as in
    :class:`~thalweg.connect.Greedy`.

    Attributes:
        alpha: beads are trained to `alpha`·L0.
        zeta: ζ, the tension of the string, in units of the loss per unit of length: the higher,
            the straighter the string, and the less the loss falls.
        kappa: κ, the price of a unit of distance from the hyperplane; None: the bead never leaves
            it.

    Raises:
        InputError: if an option is out of range.
    """

    alpha: float = 0.95
    zeta: float = 0.0
    kappa: float | None = None
    name: str = "constrained"

    def __post_init__(self) -> None:
        if not 0 < self.alpha <= 1:
            raise InputError(f"expected alpha in (0, 1], got {self.alpha}")
        for option in ("zeta", "kappa"):
            value = getattr(self, option)
            if value is not None and not 0 <= value < float("inf"):
                raise InputError(f"expected a finite {option} >= 0, got {value}")

    def settings(self) -> dict[str, Any]:
        """Its options, for the record."""
        return {key: value for key, value in asdict(self).items() if key != "name"}

    def place(self, search: Search, string: String, piece: Piece) -> float:
        """The middle: the one point of the segment that is on the hyperplane."""
        del search, string, piece
        return 0.5

    def first_point(self, search: Search, string: String, piece: Piece, t: float) -> Tensor:
        """The middle itself, `[p]`."""
        del string
        left, right = search.store[piece.left], search.store[piece.right]
        return interpolate(left, right, torch.tensor([t]))[0]

    def constraint(self, search: Search, piece: Piece) -> Callable[[], Constraint]:
        """The hyperplane equidistant from the ends of the segment."""
        return lambda: Equidistant(
            search.store[piece.left].to(search.objective.device),
            search.store[piece.right].to(search.objective.device),
            zeta=self.zeta, kappa=self.kappa,
        )  # fmt: skip


class Equidistant:
    """The hyperplane equidistant from two neighbours, and the springs to them.

    Args:
        left: `[p]`, θ_{i−1}.
        right: `[p]`, θ_{i+1}.
        zeta: ζ.
        kappa: κ; None: the hyperplane is never left.

    Example:
        >>> between = Equidistant(torch.tensor([0.0, 0.0]), torch.tensor([2.0, 0.0]))
        >>> between.project(torch.tensor([1.5, 3.0]))
        tensor([1., 3.])
    """

    def __init__(
        self, left: Tensor, right: Tensor, *, zeta: float = 0.0, kappa: float | None = None
    ) -> None:
        self._neighbours = left, right
        self._middle = (left + right) / 2
        self._normal = _unit(right - left)
        self._zeta, self._kappa = zeta, kappa

    def offset(self, theta: Tensor) -> Tensor:
        """Signed distance from the hyperplane, towards the right neighbour."""
        return self._normal @ (theta - self._middle)

    def gradient(self, theta: Tensor) -> Tensor:
        """Of the ζ and κ terms, `[p]`."""
        pull = torch.zeros_like(theta)
        if self._zeta:
            for neighbour in self._neighbours:
                pull += self._zeta * _unit(theta - neighbour)
        if self._kappa:
            pull += self._kappa * self.offset(theta).sign() * self._normal
        return pull

    def project(self, theta: Tensor) -> Tensor:
        """The nearest point of the hyperplane; with a κ, the point itself."""
        return theta if self._kappa is not None else theta - self.offset(theta) * self._normal


def _unit(vector: Tensor) -> Tensor:
    """Of length one; zero stays zero."""
    length = torch.linalg.vector_norm(vector)
    return vector / length if length > 0 else vector
