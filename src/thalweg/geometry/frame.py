"""Lines and planes of parameter space: an origin, one or two directions, and coordinates.

The plane through three models is that of Garipov et al. 2018, Appendix A.1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from thalweg.errors import InputError
from thalweg.objective import Objective
from thalweg.parameters import Source, each_row

# A third model nearer than this to the line through the other two, relative to their distance,
# gives no plane: its direction would be rounding.
_COLLINEAR = 1e-6


@dataclass(frozen=True, eq=False)
class Frame:
    """An affine subspace of parameter space: `θ = origin + Σ_j x_j · directions[j]`.

    Attributes:
        origin: `[p]`, where all coordinates are zero.
        directions: `[m, p]`, linearly independent.
        names: what each direction is, for the axis of a picture.

    Example:
        >>> frame = Frame(torch.zeros(3), torch.tensor([[0.0, 2.0, 0.0]]), ("up",))
        >>> frame.coordinates(torch.tensor([[5.0, 4.0, 0.0]]))
        tensor([[2.]], dtype=torch.float64)
        >>> frame.distances(torch.tensor([[5.0, 4.0, 0.0]]))
        tensor([5.], dtype=torch.float64)
    """

    origin: Tensor
    directions: Tensor
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.directions.ndim != 2 or self.directions.shape[1:] != self.origin.shape:
            raise InputError(
                "expected an origin [p] and directions [m, p], got shapes "
                f"{list(self.origin.shape)} and {list(self.directions.shape)}"
            )
        if len(self.names) != len(self.directions):
            raise InputError(
                f"expected one name a direction, got {len(self.names)} for {len(self.directions)}"
            )

    def coordinates(self, points: Tensor) -> Tensor:
        """Coordinates of the nearest points of the frame.

        Args:
            points: `[k, p]`; may be memory-mapped.

        Returns:
            `[k, m]`, float64: the least-squares solution, whatever the angles between directions.
        """
        directions, gram = self._gram()
        rows = [directions @ (row.to(directions) - self.origin.to(directions))
                for row in each_row(points)]  # fmt: skip
        return torch.linalg.solve(gram, torch.stack(rows, dim=1)).T.cpu()

    def distances(self, points: Tensor) -> Tensor:
        """How far points `[k, p]` lie off the frame, `[k]`, float64."""
        directions, _ = self._gram()
        nearest = self.coordinates(points).to(directions) @ directions
        nearest += self.origin.to(directions)
        off = [
            torch.linalg.vector_norm(row.to(directions) - near)
            for row, near in zip(each_row(points), nearest, strict=True)
        ]
        return torch.stack(off).cpu()

    def at(self, coordinates: Tensor) -> Tensor:
        """Points `[k, p]` at coordinates `[k, m]`, in the dtype of the origin."""
        x = coordinates.to(self.origin.device, torch.float64)
        moved = self.origin.double() + x @ self.directions.to(self.origin.device).double()
        return moved.to(self.origin.dtype)

    def _gram(self) -> tuple[Tensor, Tensor]:
        directions = self.directions.double()
        return directions, directions @ directions.T


def line_through(objective: Objective, a: Source, b: Source) -> Frame:
    """The line through two models: A at 0, B at their distance.

    Args:
        objective: whose architecture.
        a: a module, state dict, flat vector or file.
        b: another.

    Raises:
        InputError: if they do not fit the objective, or are equal.
    """
    start, end = objective.theta(a, "the first model"), objective.theta(b, "the second model")
    return Frame(start, _unit(end.double() - start.double(), start)[None], ("from A to B",))


def plane_through(objective: Objective, a: Source, b: Source, c: Source) -> Frame:
    """The plane through three models, in Garipov's coordinates.

    A lies at the origin, B on the first axis, C above it; a unit of either axis is a Euclidean
    distance of one (Garipov et al. 2018, Appendix A.1: `u = b − a`,
    `v = (c − a) − ⟨c − a, u⟩ / ‖u‖² · u`, both divided by their lengths).

    Args:
        objective: whose architecture.
        a: a module, state dict, flat vector or file.
        b: another.
        c: a third, not on the line through the others.

    Raises:
        InputError: if they do not fit the objective, or lie on one line.
    """
    start, end, third = (
        objective.theta(source, f"model {name}") for source, name in ((a, "A"), (b, "B"), (c, "C"))
    )
    first = _unit(end.double() - start.double(), start)
    offset = third.double() - start.double()
    across = offset - (offset @ first.double()) * first.double()
    if float(across.norm()) <= _COLLINEAR * float((end.double() - start.double()).norm()):
        raise InputError(
            "expected three models that are not on one line, got a third that lies on the line "
            "through the other two: choose another"
        )
    return Frame(
        start, torch.stack([first, _unit(across, start)]), ("from A to B", "across, towards C")
    )


def _unit(difference: Tensor, like: Tensor) -> Tensor:
    """A unit vector of the dtype of the model."""
    length = difference.norm()
    if not length > 0:
        raise InputError("expected two different models, got equal ones: they give no direction")
    return (difference / length).to(like.dtype)
