"""Positive rescaling of units: the continuous part of a network's symmetries.

A relu or leaky-relu unit whose incoming weights and bias are multiplied by α > 0 and whose
outgoing weights are divided by it computes the same: the group of Fk = diag(α) of Freeman &
Bruna 2017, Section 2.1. Which units have a free size is read off the graph (units that pass a
residual sum share it; BatchNorm has a free size behind it, and none in front, for its ε).

The normal form is the point of the orbit with the least ‖θ‖, where the incoming and the outgoing
weights of every unit have the same norm (Stock et al. 2019, *Equi-normalization*): ‖θ‖² is convex
in log α.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor, nn

from thalweg.symmetry.group import Tensors, walk
from thalweg.symmetry.labels import FIXED

_ITERATIONS = 5000
_TOLERANCE = 1e-13


@dataclass(frozen=True, eq=False)
class Scaled:
    """An axis of a tensor whose entries grow or shrink with the sizes of units.

    Attributes:
        name: of the tensor.
        rows: the part of it; None: the whole tensor.
        axis: of that part; None: of the tensor as one flat vector.
        units: `[d]`: number of the size at each index, −1 where there is none.
        power: +1 or −1.
    """

    name: str
    rows: tuple[int, int] | None
    axis: int | None
    units: Tensor
    power: int


@dataclass(frozen=True, eq=False)
class _Units:
    """The units on the axes of one part of a tensor: entries of the same units grow alike.

    Attributes:
        scales: one an axis.
    """

    scales: tuple[Scaled, ...]

    def summed(self, values: Sequence[Tensor]) -> tuple[_Units, list[Tensor]]:
        """Entries of the same units added up, so that what is left is small.

        Args:
            values: of the shape of the part, several.

        Returns:
            The units that are left on one axis each, and the sums.
        """
        axes = [scaled.axis or 0 for scaled in self.scales]
        rest = [axis for axis in range(values[0].ndim) if axis not in axes]
        order = [*axes, *rest]
        sums = [t.permute(order).flatten(len(axes)).sum(-1) if rest else t.permute(order)
                for t in values]  # fmt: skip
        left = []
        for i, scaled in enumerate(self.scales):
            units, inverse = scaled.units.unique(return_inverse=True)
            sums = [
                torch.zeros(*t.shape[:i], len(units), *t.shape[i + 1 :], dtype=t.dtype)
                .index_add_(i, inverse, t)
                for t in sums
            ]  # fmt: skip
            left.append(replace(scaled, units=units))
        return _Units(tuple(left)), sums

    def logs(self, log_sizes: Tensor) -> Tensor:
        """Logarithm of the factor of every entry that is left."""
        padded = torch.cat([log_sizes, log_sizes.new_zeros(1)])  # the last: −1, of no unit
        result = torch.zeros((), dtype=log_sizes.dtype)
        for i, scaled in enumerate(self.scales):
            shape = [1] * len(self.scales)
            shape[i] = -1
            result = result + (padded[scaled.units] * scaled.power).reshape(shape)
        return result


@dataclass(frozen=True, eq=False)
class RescalingGroup:
    """All positive rescalings of a network's units.

    Attributes:
        size: number of free sizes.
        axes: what they act on.

    Example:
        >>> model = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 4), nn.Tanh())
        >>> rescaling_group(model, torch.zeros(1, 3)).size
        5
    """

    size: int
    axes: tuple[Scaled, ...]

    def apply(self, tensors: Tensors, log_sizes: Tensor) -> dict[str, Tensor]:
        """Multiply the size of every unit.

        Args:
            tensors: parameters; others than the network's are left alone.
            log_sizes: `[size]`, log α.

        Returns:
            All tensors, computed in the dtype of `log_sizes` and of their own dtype.
        """
        logs = {name: torch.zeros_like(t, dtype=log_sizes.dtype) for name, t in tensors.items()}
        padded = torch.cat([log_sizes, log_sizes.new_zeros(1)])  # the last: −1, of no unit
        for scaled in self.axes:
            if scaled.name in logs:
                along = padded[scaled.units] * scaled.power
                logs[scaled.name] = _added(logs[scaled.name], scaled, along)
        return {
            name: (t.to(log_sizes.dtype) * logs[name].exp()).to(t.dtype)
            for name, t in tensors.items()
        }

    def random(self, generator: torch.Generator, spread: float = 1.0) -> Tensor:
        """Sizes drawn at random: log α normal with this standard deviation, float64.

        Args:
            generator: on the CPU.
            spread: of log α.
        """
        return torch.randn(self.size, generator=generator, dtype=torch.float64) * spread

    def normal_sizes(self, tensors: Tensors) -> Tensor:
        """The log α that bring a network to its normal form, `[size]`, float64.

        A unit without incoming or without outgoing weights keeps its size.
        """
        wide = _wide(tensors)
        free = self._bounded(wide)
        parts = [part.summed([t.square()]) for part, t in self._parts(wide)]

        def energy(log_sizes: Tensor) -> Tensor:
            result = torch.zeros((), dtype=torch.float64)
            for units, (squares,) in parts:
                result = result + (squares * (2 * units.logs(log_sizes * free)).exp()).sum()
            return result

        return _minimize(energy, torch.zeros(self.size, dtype=torch.float64)) * free

    def nearest_sizes(self, a: Tensors, b: Tensors) -> Tensor:
        """The log α that bring network B near to A: a local minimum of the distance.

        The descent starts at the sizes that A has beyond its normal form, which are the answer
        where B is a rescaled A; and at B as it is.
        """
        wide_a, wide_b = _wide(a), _wide(b)
        free = self._bounded(wide_b)
        parts = [
            part.summed([x.square(), x * y, y.square()])
            for (part, x), (_, y) in zip(self._parts(wide_a), self._parts(wide_b), strict=True)
        ]

        def distance(log_sizes: Tensor) -> Tensor:
            result = torch.zeros((), dtype=torch.float64)
            for units, (aa, ab, bb) in parts:
                grown = units.logs(log_sizes * free).exp()
                result = result + (aa - 2 * ab * grown + bb * grown.square()).sum()
            return result

        there = (self.normal_sizes(b) - self.normal_sizes(a)) * free
        starts = [there, torch.zeros_like(there)]
        found = [_minimize(distance, start) * free for start in starts]
        return min(found, key=lambda log_sizes: float(distance(log_sizes)))

    def _parts(self, tensors: Tensors) -> list[tuple[_Units, Tensor]]:
        """Parts of tensors that some size acts on, each with its units."""
        groups: dict[tuple[str, tuple[int, int] | None], list[Scaled]] = {}
        for scaled in self.axes:
            if scaled.name in tensors:
                groups.setdefault((scaled.name, scaled.rows), []).append(scaled)
        result = []
        for (name, rows), scales in groups.items():
            part = tensors[name] if rows is None else tensors[name][slice(*rows)]
            flat = part.reshape(-1) if scales[0].axis is None else part
            result.append((_Units(tuple(scales)), flat))
        return result

    def _bounded(self, tensors: Tensors) -> Tensor:
        """One for sizes that the norm bounds from both sides, else zero, `[size]`."""
        there = {power: torch.zeros(self.size + 1, dtype=torch.float64) for power in (1, -1)}
        for scaled in self.axes:
            if scaled.name in tensors:
                part = _part(tensors[scaled.name], scaled).flatten(1).square().sum(1)
                there[scaled.power].index_add_(0, scaled.units % (self.size + 1), part)
        return ((there[1] > 0) & (there[-1] > 0))[: self.size].to(torch.float64)


def rescaling_group(model: nn.Module, *inputs: Tensor) -> RescalingGroup:
    """Derive the positive rescalings of units that a model's graph allows.

    Args:
        model: it is not changed; its function in evaluation mode counts.
        inputs: of the model, at least one example `[n, ...]` each.

    Raises:
        InputError: if torch.fx cannot trace the model.
    """
    found = walk(model, inputs, "rescale")
    blocks = list(found.blocks.values())
    roots = [found.classes.roots(torch.tensor(block.labels)) for block in blocks]
    known = sorted({root for each in roots for root in each.tolist()} - {FIXED})
    number = {root: i for i, root in enumerate(known)}
    axes = []
    for block, each in zip(blocks, roots, strict=True):
        units = torch.tensor([number.get(root, -1) for root in each.tolist()])
        if (units >= 0).any():
            axes.append(Scaled(block.name, block.rows, block.axis, units, block.power))
    return RescalingGroup(len(known), tuple(axes))


def _part(tensor: Tensor, scaled: Scaled) -> Tensor:
    part = tensor if scaled.rows is None else tensor[slice(*scaled.rows)]
    return part.reshape(-1, 1) if scaled.axis is None else part.movedim(scaled.axis, 0)[:, None]


def _added(logs: Tensor, scaled: Scaled, along: Tensor) -> Tensor:
    """Logarithms of factors, with those along one axis added."""
    if scaled.axis is None:
        return logs + along.reshape(logs.shape)
    shape = [1] * logs.ndim
    shape[scaled.axis] = -1
    if scaled.rows is None:
        return logs + along.reshape(shape)
    start, end = scaled.rows
    changed = logs[start:end] + along.reshape(shape)
    return torch.cat([logs[:start], changed, logs[end:]])


def _minimize(function: Callable[[Tensor], Tensor], start: Tensor) -> Tensor:
    """A local minimum, by L-BFGS with gradients from autograd."""
    if not len(start):
        return start
    scale = max(float(function(start)), 1e-300)

    def value_and_gradient(point: np.ndarray) -> tuple[float, np.ndarray]:
        variable = torch.from_numpy(np.array(point)).requires_grad_()
        with torch.enable_grad():
            value = function(variable) / scale
            (gradient,) = torch.autograd.grad(value, variable)
        return float(value.detach()), gradient.numpy()

    options = {"maxiter": _ITERATIONS, "ftol": 0.0, "gtol": _TOLERANCE, "maxfun": 2 * _ITERATIONS}
    found = minimize(value_and_gradient, start.numpy(), jac=True, method="L-BFGS-B",
                     options=options)  # fmt: skip
    return torch.from_numpy(np.asarray(found.x))


def _wide(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: t.detach().to("cpu", torch.float64) for name, t in tensors.items()}
