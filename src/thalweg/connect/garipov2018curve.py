"""Curve finding (Garipov et al. 2018): Bézier curves and polygonal chains, trained as a whole.

T. Garipov, P. Izmailov, D. Podoprikhin, D. Vetrov, A. G. Wilson, *Loss surfaces, mode connectivity,
and fast ensembling of DNNs*, NeurIPS 2018, Section 3.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from thalweg.connect.driver import Search
from thalweg.connect.moving import Moving
from thalweg.connect.string import String
from thalweg.errors import InputError
from thalweg.paths import bernstein, interpolate

State = dict[String, tuple[Moving, torch.Generator]]
"""The curve of each string, and where its t are drawn from."""


@dataclass(frozen=True)
class PolygonalChain:
    """A polygonal chain with some bends, trained on its mean loss over uniform t.

    The free points w minimize `E[L(φ_w(t))]` with t uniform on [0, 1] (Eq. 2; not the mean over
    the length, Eq. 1, whose gradient is intractable): each step draws t, and the chain rule hands
    the gradient of the loss at `φ_w(t)` on to every bend (Section 3.2). The chain is φ of Eq. 3,
    with every segment an equal share of t. BatchNorm statistics are estimated anew wherever the
    curve is evaluated (Appendix A.2). Training stops once the whole path is certified.

    Attributes:
        bends: free points between the endpoints; they start on the straight line.
        samples: values of t a step, one from each of so many equal parts of [0, 1].

    Raises:
        InputError: if there is no bend, or no t.
    """

    bends: int = 1
    samples: int = 1
    name: str = "polygonal"

    def __post_init__(self) -> None:
        for option in ("bends", "samples"):
            if getattr(self, option) < 1:
                raise InputError(f"expected {option} >= 1, got {getattr(self, option)}")

    def settings(self) -> dict[str, Any]:
        """Its options, for the record."""
        return {key: value for key, value in asdict(self).items() if key != "name"}

    @property
    def curved(self) -> bool:
        """Whether the bends are control points of a Bézier curve."""
        return False

    def weights(self, t: Tensor) -> Tensor:
        """What every point of the chain, both endpoints included, has of the point at t.

        Args:
            t: `[m]`.

        Returns:
            `[m, bends + 2]`, non-negative, with sums of one.
        """
        # Eq. 3: hats over equally spaced knots.
        knots = torch.arange(self.bends + 2, dtype=torch.float64)
        return (1 - (t[:, None] * (self.bends + 1) - knots).abs()).clamp(min=0)

    def init(self, search: Search) -> State:
        """Curves along the straight lines, where these will not do by themselves."""
        state: State = {}
        for string in search.certify_straight():
            a, b = (search.store[number] for number in string.numbers)
            t = torch.arange(1, self.bends + 1, dtype=torch.float64) / (self.bends + 1)
            line = interpolate(a, b, t).to(search.objective.device)
            moving = Moving(search, string, line, curve=self.curved)
            state[string] = moving, torch.Generator().manual_seed(search.seed)
        return state

    def step(self, search: Search, state: State) -> State:
        """Train every open curve for a while."""
        for string in search.open:
            moving, generator = state[string]
            moving.run(lambda moving=moving, generator=generator: self._move(moving, generator))
        return state

    def _move(self, moving: Moving, generator: torch.Generator) -> None:
        """One step against the gradient of a sample of the mean loss."""
        shares = torch.arange(self.samples, dtype=torch.float64)
        inside = torch.rand(self.samples, generator=generator, dtype=torch.float64)
        t = (shares + inside) / self.samples
        weights = self.weights(t).to(moving.points)
        found = moving.gradients(weights @ moving.path)
        moving.step(weights[:, 1:-1].t() @ found.gradients / self.samples)


@dataclass(frozen=True)
class BezierCurve(PolygonalChain):
    """A Bézier curve with some bends, trained on its mean loss over uniform t.

    As :class:`PolygonalChain`, but φ is that of Eq. 4: for one bend w, the curve
    `(1 − t)² θA + 2 t (1 − t) w + t² θB`.
    """

    name: str = "bezier"

    @property
    def curved(self) -> bool:
        """Whether the bends are control points of a Bézier curve."""
        return True

    def weights(self, t: Tensor) -> Tensor:
        """Bernstein polynomials at t, `[m, bends + 2]` (Eq. 4 for one bend)."""
        return bernstein(t, self.bends + 1)
