"""Labels of numbers: which unit of a network each element of a tensor belongs to.

Every element of every activation carries the number of a unit. Layers make new units; operations
that combine tensors elementwise identify the units that meet. Units that end up as one class move
together under every symmetry of the network.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

FIXED = 0
"""Label of elements that stay in place: the inputs, the outputs, and what is tied to them."""
UNIFORM = -1
"""Label of elements that have one and the same value wherever they stand, such as padding."""


class Classes:
    """Units, and which of them are known to move together: a union-find structure.

    Example:
        >>> classes = Classes()
        >>> a, b = classes.fresh(2), classes.fresh(2)
        >>> _ = classes.unite(a, b)
        >>> classes.roots(torch.cat([a, b])).tolist()
        [1, 2, 1, 2]
    """

    def __init__(self) -> None:
        self._parent = [FIXED]

    def fresh(self, count: int) -> Tensor:
        """So many new units, `[count]`."""
        first = len(self._parent)
        self._parent.extend(range(first, first + count))
        return torch.arange(first, first + count)

    def unite(self, a: Tensor, b: Tensor) -> Tensor:
        """Identify the units of two tensors elementwise.

        Args:
            a: labels, of a shape that broadcasts with that of `b`.
            b: labels.

        Returns:
            Labels of the combination, of the common shape.
        """
        a, b = torch.broadcast_tensors(a, b)
        meet = (a != b) & (a != UNIFORM) & (b != UNIFORM)
        if meet.any():
            for x, y in torch.stack([a[meet], b[meet]], 1).unique(dim=0).tolist():
                self._union(x, y)
        return torch.where(a == UNIFORM, b, a)

    def fix(self, labels: Tensor) -> None:
        """Let the units among these labels stay in place."""
        for unit in labels.unique().tolist():
            if unit != UNIFORM:
                self._union(unit, FIXED)

    def roots(self, labels: Tensor) -> Tensor:
        """One number a class for each label; 0 for what stays in place."""
        flat = labels.clamp_min(FIXED).flatten().tolist()
        return torch.tensor([self._find(unit) for unit in flat]).reshape(labels.shape)

    def along(self, labels: Tensor, axis: int) -> Tensor:
        """Labels along one axis, all that stand at one index of it being identified.

        Args:
            labels: of any shape.
            axis: of it.

        Returns:
            `[d]`, without UNIFORM ones.
        """
        rows = labels.movedim(axis, 0).flatten(1)
        first = rows.amax(1)
        self.unite(first[:, None], rows)
        return first.clamp_min(FIXED)

    def _find(self, unit: int) -> int:
        root = unit
        while self._parent[root] != root:
            root = self._parent[root]
        while self._parent[unit] != root:
            self._parent[unit], unit = root, self._parent[unit]
        return root

    def _union(self, x: int, y: int) -> None:
        low, high = sorted((self._find(x), self._find(y)))
        self._parent[high] = low


@dataclass(frozen=True, eq=False)
class Labelled:
    """A tensor, and the label of each of its elements.

    Attributes:
        value: what the network computes on a few examples.
        labels: int64, of the same shape.
    """

    value: Tensor
    labels: Tensor


@dataclass(frozen=True, eq=False)
class Own:
    """A tensor that the network holds, before it is known how it is used.

    Attributes:
        value: the parameter or buffer.
        name: under which the network holds it.
    """

    value: Tensor
    name: str


@dataclass(frozen=True)
class Block:
    """How the units stand on one axis of a part of a tensor.

    Attributes:
        name: of the tensor.
        rows: the part: these rows of its first axis; None: the whole tensor.
        axis: of that part; None: of the tensor as one flat vector.
        labels: `[d]`, as numbers.
        power: +1 where a larger unit needs larger entries, −1 where it needs smaller ones, 0
            where it needs none: how the tensor moves when units are rescaled.
    """

    name: str
    rows: tuple[int, int] | None
    axis: int | None
    labels: tuple[int, ...]
    power: int

    @property
    def form(self) -> tuple[object, ...]:
        """What two uses of one tensor must have in common to move together."""
        return self.rows, self.axis, self.power


def tensors_in(value: object) -> Iterable[Labelled | Own]:
    """All tensors in an argument of any nesting."""
    if isinstance(value, Labelled | Own):
        yield value
    elif isinstance(value, tuple | list):
        for part in value:
            yield from tensors_in(part)
    elif isinstance(value, dict):
        yield from tensors_in(list(value.values()))


def values_of(value: object) -> object:
    """The same argument with plain tensors."""
    if isinstance(value, Labelled | Own):
        return value.value
    if isinstance(value, tuple | list):
        return type(value)(values_of(part) for part in value)  # no named tuples among arguments
    if isinstance(value, dict):
        return {key: values_of(part) for key, part in value.items()}
    return value


def labels_of(value: object) -> object:
    """The same argument with labels in the place of tensors."""
    if isinstance(value, Labelled):
        return value.labels
    if isinstance(value, tuple | list):
        return type(value)(labels_of(part) for part in value)
    if isinstance(value, dict):
        return {key: labels_of(part) for key, part in value.items()}
    return value
