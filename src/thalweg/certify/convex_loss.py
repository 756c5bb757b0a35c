"""Convex losses with what the chord theorem needs: their slopes over ranges of outputs.

For a loss l(z) convex in the outputs z, any subgradient s at the true output z = g(t) gives
`l(g) <= l(chord) + s · (g - chord)`. What is needed is an upper bound of `-s · g''` over a box and
a piece (:mod:`thalweg.certify.chord`): for losses that are sums over outputs, from the ranges of s
and g'' of each; for cross-entropy, whose slopes add up to zero, from differences to the target's:
`-s · d = sum_j p_j (d_y - d_j) <= (1 - p_y) max_j (d_y - d_j)`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thalweg.certify.boxes import Boxes
from thalweg.certify.jets import Interval
from thalweg.certify.rounding import ULTIMATE, UNIT


class ConvexLoss(Protocol):
    """A mean over examples of a convex function of the outputs that is never negative."""

    def fits(self, outputs: int, target: Tensor) -> bool:
        """Whether targets are of the shape and in the range for which this holds."""
        ...

    def total(self, output: Tensor, target: Tensor) -> Tensor:
        """Sums over examples `[k]`.

        Args:
            output: `[k, outputs, n]`; may be overwritten.
            target: `[outputs, n]`, or labels `[n]`.
        """
        ...

    def curvature(self, output: Interval, second: Interval, boxes: Boxes) -> Tensor:
        """Upper bound `[pieces, boxes]` of `-s · d`, s a slope at and d in given intervals.

        Args:
            output: `[pieces, outputs, boxes]`.
            second: of the same shape.
            boxes: with their targets.
        """
        ...

    def slope(self, size: Tensor, target: float) -> Tensor:
        """Lipschitz constant in the maximum norm for outputs and targets of given sizes."""
        ...

    def rounding(self, size: Tensor, target: float, outputs: int) -> Tensor:
        """Error of :meth:`total` an example, but for the relative one of each term and of sums."""
        ...


@dataclass(frozen=True)
class Separate:
    """A mean over outputs of `function(z, y)` with a derivative that grows with z and falls with y.

    Attributes:
        function: of outputs and targets, elementwise.
        derivative: by the output; between its one-sided limits where it jumps.
        bounded: targets must lie in [0, 1].
    """

    function: Callable[[Tensor, Tensor], Tensor]
    derivative: Callable[[Tensor, Tensor], Tensor]
    bounded: bool = False

    def fits(self, outputs: int, target: Tensor) -> bool:
        """See :class:`ConvexLoss`."""
        inside = not self.bounded or bool(((target >= 0) & (target <= 1)).all())
        real = target.is_floating_point() and target.ndim == 2
        return real and target.shape[1] == outputs and inside

    def total(self, output: Tensor, target: Tensor) -> Tensor:
        """See :class:`ConvexLoss`."""
        return self.function(output, target).sum((1, 2)) / output.shape[1]

    def curvature(self, output: Interval, second: Interval, boxes: Boxes) -> Tensor:
        """See :class:`ConvexLoss`."""
        least = self.derivative(output.lower, boxes.target_upper)
        most = self.derivative(output.upper, boxes.target_lower)
        margin = (least.abs() + most.abs() + 1) * ULTIMATE
        worst: Tensor | None = None
        for slope in (least - margin, most + margin):
            for change in (second.lower, second.upper):
                product = -slope * change
                worst = product if worst is None else torch.maximum(worst, product)
        return (torch.zeros_like(output.center) if worst is None else worst).mean(1)

    def slope(self, size: Tensor, target: float) -> Tensor:
        """See :class:`ConvexLoss`."""
        far = torch.full_like(size, target)
        up, down = self.derivative(size, -far), self.derivative(-size, far)
        return torch.maximum(up.abs(), down.abs()) * (1 + ULTIMATE)

    def rounding(self, size: Tensor, target: float, outputs: int) -> Tensor:
        """See :class:`ConvexLoss`."""
        residual = 4 * UNIT * (size + target)
        return self.slope(size, target) * residual + 64 * UNIT * (1 + target) * (1 + size)


@dataclass(frozen=True)
class CrossEntropy:
    """`log sum_j exp(z_j) - z_y` with labels y."""

    def fits(self, outputs: int, target: Tensor) -> bool:
        """See :class:`ConvexLoss`."""
        if target.ndim != 1 or target.is_floating_point():
            return False
        return bool(((target >= 0) & (target < outputs)).all())

    def total(self, output: Tensor, target: Tensor) -> Tensor:
        """See :class:`ConvexLoss`."""
        own = output.gather(1, target.expand(len(output), 1, -1))[:, 0]
        return (output.logsumexp(1) - own).sum(1)

    def curvature(self, output: Interval, second: Interval, boxes: Boxes) -> Tensor:
        """See :class:`ConvexLoss`."""
        label = boxes.target_lower.expand(len(output.center), 1, -1)
        rivals = output.upper.scatter(1, label, -torch.inf).logsumexp(1)
        wrong = torch.sigmoid(rivals - output.lower.gather(1, label)[:, 0]) + ULTIMATE
        apart = second.upper.gather(1, label) - second.lower
        apart = apart.scatter(1, label, 0.0)
        return wrong.clamp(max=1.0) * apart.amax(1)

    def slope(self, size: Tensor, target: float) -> Tensor:
        """See :class:`ConvexLoss`."""
        return torch.full_like(size, 2.0)

    def rounding(self, size: Tensor, target: float, outputs: int) -> Tensor:
        """See :class:`ConvexLoss`."""
        return 8 * UNIT * (outputs + 64) * (1 + size)


def _huber(delta: float) -> Separate:
    return Separate(
        lambda z, y: F.huber_loss(z, y.expand_as(z), reduction="none", delta=delta),
        lambda z, y: (z - y).clamp(-delta, delta),
    )


def _smooth_l1(beta: float) -> Separate:
    if beta == 0:
        return _ABSOLUTE
    return Separate(
        lambda z, y: F.smooth_l1_loss(z, y.expand_as(z), reduction="none", beta=beta),
        lambda z, y: ((z - y) / beta).clamp(-1, 1),
    )


_ABSOLUTE = Separate(lambda z, y: (z - y).abs_(), lambda z, y: torch.sign(z - y))
_SQUARED = Separate(lambda z, y: (z - y).square_(), lambda z, y: 2 * (z - y))
_BINARY = Separate(
    lambda z, y: (1 - y) * z - F.logsigmoid(z), lambda z, y: torch.sigmoid(z) - y, bounded=True
)

_FUNCTIONS: dict[Any, ConvexLoss] = {
    F.l1_loss: _ABSOLUTE, F.mse_loss: _SQUARED, F.cross_entropy: CrossEntropy(),
    F.binary_cross_entropy_with_logits: _BINARY, F.huber_loss: _huber(1.0),
    F.smooth_l1_loss: _smooth_l1(1.0),
}  # fmt: skip
_MODULES: dict[type[nn.Module], Callable[[Any], ConvexLoss]] = {
    nn.L1Loss: lambda loss: _ABSOLUTE,
    nn.MSELoss: lambda loss: _SQUARED,
    nn.CrossEntropyLoss: lambda loss: CrossEntropy(),
    nn.BCEWithLogitsLoss: lambda loss: _BINARY,
    nn.HuberLoss: lambda loss: _huber(loss.delta),
    nn.SmoothL1Loss: lambda loss: _smooth_l1(loss.beta),
}
# Settings of those modules under which they are the functions above.
_PLAIN = {"weight": None, "pos_weight": None, "label_smoothing": 0.0}


def convex_loss(loss: Any) -> ConvexLoss | None:
    """What is known of a loss; None if it is not among torch's convex ones.

    Args:
        loss: a function or module of torch.

    Example:
        >>> convex_loss(nn.CrossEntropyLoss(label_smoothing=0.1)) is None
        True
    """
    if not isinstance(loss, nn.Module):
        return _FUNCTIONS.get(loss) if isinstance(loss, Hashable) else None
    make = _MODULES.get(type(loss))
    plain = all(getattr(loss, name, value) == value for name, value in _PLAIN.items())
    plain = plain and getattr(loss, "ignore_index", -100) < 0
    mean = getattr(loss, "reduction", "") in {"mean", "none"}
    return make(loss) if make is not None and plain and mean else None
