"""AutoNEB for networks (Draxler et al. 2018): an elastic band that gets images where it needs them.

F. Draxler, K. Veschgini, M. Salmhofer, F. A. Hamprecht, *Essentially no barriers in neural network
energy landscape*, ICML 2018, Section 3; the tangent is that of Henkelman & Jónsson (2000).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from thalweg.connect.connection import Counts
from thalweg.connect.driver import Search
from thalweg.connect.henkelman2000neb import nudged, spaced, tangents
from thalweg.connect.moving import Moving
from thalweg.connect.string import String
from thalweg.errors import InputError
from thalweg.objective import Criterion
from thalweg.paths import interpolate

# Weight of the newest minibatch in the loss of an image, by which tangents are chosen.
_NEWEST = 0.1
# Places inside a segment at which the loss is held against the straight line between its images.
_INSIDE = 8

CYCLES = ((40, 200, 1.0), (1, 400, 0.1))
"""Cycles: how many, of how many steps, and the size of these as a multiple of the recipe's.

The published ones, ((4, 1000, 1), (2, 2000, 1), (4, 1000, .1), (4, 1000, .01)), are too long for
networks that take a few hundred steps.
"""


@dataclass(eq=False)
class _Band:
    """The band of one string.

    Attributes:
        moving: its images.
        ends: training loss of both endpoints.
        shares: `[n + 1]`, of the length of the band that each of its segments is to have.
        cycle: which cycle it is in.
        begun: the step at which that began.
        losses: `[n]`, running means of the losses of the images.
    """

    moving: Moving
    ends: Tensor
    shares: Tensor
    cycle: int = 0
    begun: int = 0
    losses: Tensor | None = None


State = dict[String, _Band]


@dataclass(frozen=True)
class AutoNEB:
    """Relax an elastic band in cycles, and insert images where it is not resolved.

    Each step, every image moves by the force of the nudged elastic band on one minibatch; the
    springs are infinitely stiff, that is, images are moved along the band after every step until
    every segment has its share of the length (Section 3.1). After a cycle an image is inserted
    into each segment on which the loss exceeds the straight line between its images by more than
    `excess` of the range of losses on the band, and the two halves share what it had
    (Section 3.2). It stops once the whole path is certified.

    Attributes:
        images: of the first band, on the straight line.
        excess: see above.
        cycles: how many, of how many steps, and the size of these as a multiple of the recipe's;
            then the next ones. The last cycle is repeated.
        spring: constant k of Henkelman & Jónsson's Eq. 12; None: infinitely stiff.

    Raises:
        InputError: if an option is out of range.
    """

    images: int = 3
    excess: float = 0.2
    cycles: tuple[tuple[int, int, float], ...] = CYCLES
    spring: float | None = None
    name: str = "autoneb"

    def __post_init__(self) -> None:
        if self.images < 1 or not self.excess > 0:
            raise InputError(
                f"expected at least one image and an excess > 0, got {self.images} and "
                f"{self.excess}"
            )
        if not self.cycles or any(n < 1 or k < 1 or not rate > 0 for n, k, rate in self.cycles):
            raise InputError(
                f"expected cycles (times >= 1, steps >= 1, rate > 0), got {self.cycles}"
            )

    def cycle(self, number: int) -> tuple[int, float]:
        """Steps of a cycle, counted from zero, and their size.

        Example:
            >>> [AutoNEB(cycles=((2, 50, 1.0), (1, 70, 0.1))).cycle(i) for i in (0, 1, 2, 9)]
            [(50, 1.0), (50, 1.0), (70, 0.1), (70, 0.1)]
        """
        for times, steps, rate in self.cycles:
            if number < times:
                return steps, rate
            number -= times
        return self.cycles[-1][1:]

    def settings(self) -> dict[str, Any]:
        """Its options, for the record."""
        return {key: value for key, value in asdict(self).items() if key != "name"}

    def init(self, search: Search) -> State:
        """Bands along the straight lines, where these will not do by themselves."""
        state: State = {}
        for string in search.certify_straight():
            a, b = (search.store[number] for number in string.numbers)
            t = torch.arange(1, self.images + 1, dtype=torch.float64) / (self.images + 1)
            images = interpolate(a, b, t).to(search.objective.device)
            split = search.objective.training.split
            found = search.objective.evaluate(torch.stack([a, b]), split, (Criterion("loss"),))
            string.counts += Counts(
                criterion_evaluations=found.evaluations, criterion_samples=found.samples
            )
            shares = torch.full((self.images + 1,), 1 / (self.images + 1), dtype=torch.float64)
            band = _Band(Moving(search, string, images, curve=False), found.values[:, 0], shares)
            band.moving.place(images, self.cycle(0)[1])
            state[string] = band
        return state

    def step(self, search: Search, state: State) -> State:
        """Move every open band for a while; insert images where a cycle is complete."""
        for string in search.open:
            band = state[string]
            if band.moving.steps - band.begun >= self.cycle(band.cycle)[0]:
                self._next_cycle(search, band)
            band.moving.run(lambda band=band: self._move(band))
        return state

    def _move(self, band: _Band) -> None:
        """One step of all images."""
        moving = band.moving
        found = moving.gradients(moving.points)
        losses = found.losses.detach().cpu().to(torch.float64)
        band.losses = losses if band.losses is None else band.losses.lerp(losses, _NEWEST)
        path = moving.path
        values = torch.cat([band.ends[:1], band.losses, band.ends[1:]])
        directions = tangents(path, values)
        moving.step(nudged(found.gradients, path, directions, self.spring))
        if self.spring is None:
            moving.points.copy_(spaced(moving.path, band.shares))

    def _next_cycle(self, search: Search, band: _Band) -> None:
        """Insert images where the band is not resolved, and begin the next cycle."""
        moving = band.moving
        path, segments = moving.path, len(moving.points) + 1
        grid = torch.linspace(0, 1, _INSIDE + 2, dtype=torch.float64)[:-1]
        t = torch.cat([(i + grid) / segments for i in range(segments)] + [torch.ones(1)])
        values = search.sampled(moving.string, moving.at(t))
        points, shares = [], []
        for i in range(segments):
            own = values[i * len(grid) : (i + 1) * len(grid) + 1]
            line = torch.lerp(own[0], own[-1], torch.linspace(0, 1, len(own), dtype=own.dtype))
            above = own - line
            if float(above.max()) > self.excess * float(values.max() - values.min()):
                place = grid[int(above[:-1].argmax())]
                points.append(moving.at(((i + place) / segments)[None]))
                shares += [float(band.shares[i] * place), float(band.shares[i] * (1 - place))]
            else:
                shares.append(float(band.shares[i]))
            if i < segments - 1:
                points.append(path[i + 1 : i + 2])
        band.cycle += 1
        band.begun, band.losses = moving.steps, None
        band.shares = torch.tensor(shares, dtype=torch.float64)
        moving.place(torch.cat(points), self.cycle(band.cycle)[1])
