"""Weight matching: the permutation of one network that brings its weights nearest to another's.

Ainsworth, Hayase & Srinivasa 2023 (Git Re-Basin), Section 3.2 and Algorithm 1. The distance
‖θA − π(θB)‖² = ‖θA‖² + ‖θB‖² − 2⟨θA, π(θB)⟩ is least where the inner product is largest. With all
families but one held in place that is a linear assignment problem, which scipy solves exactly;
families are taken in turn, in a seeded order, until none gains.

What is not in the paper: units of one family may stand on both axes of a tensor (recurrent
weights, residual streams), where the problem is quadratic; its linear part proposes, and the
proposal is taken only if the inner product itself grows. And the descent starts from several
places: the identity; the assignment of units by what no permutation of the other families
changes (their sorted weights), which finds a planted permutation at once; and random ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from thalweg.symmetry.group import Family, PermutationGroup, Place, Tensors

# Gains below this share of ‖θA‖·‖θB‖ are rounding.
_GAIN = 1e-12
_PASSES = 100


@dataclass(frozen=True, eq=False)
class Matching:
    """The best permutation that a descent found.

    Attributes:
        permutations: by name of family.
        overlap: ⟨θA, π(θB)⟩.
        passes: over all families, from all starts.
    """

    permutations: dict[str, Tensor]
    overlap: float
    passes: int


def match_weights(
    group: PermutationGroup, a: Tensors, b: Tensors, *, seed: int = 0, restarts: int = 0
) -> Matching:
    """Bring one network as near as possible to another by permutations of its units.

    Args:
        group: of the architecture.
        a: parameters of the network that stays.
        b: parameters of the one that moves.
        seed: of the order in which families are taken, and of random starts.
        restarts: random starts beside the two others.

    Returns:
        The best of all descents; its overlap is at least that of the identity.
    """
    wide_a, wide_b = _wide(a), _wide(b)
    generator = torch.Generator().manual_seed(seed)
    starts = [group.identity(), _by_invariants(group, wide_a, wide_b)]
    starts += [group.random(generator) for _ in range(restarts)]
    found = [_descend(group, group.families, wide_a, wide_b, start, generator) for start in starts]
    best = max(found, key=lambda matching: matching.overlap)
    return Matching(best.permutations, best.overlap, sum(matching.passes for matching in found))


def complete(
    group: PermutationGroup, a: Tensors, b: Tensors, known: Mapping[str, Tensor], *, seed: int = 0
) -> dict[str, Tensor]:
    """Permutations of all families, where some are known: the others are matched by weights.

    Args:
        group: of the architecture.
        a: parameters of the network that stays.
        b: parameters of the one that moves.
        known: permutations by name of family.
        seed: of the order in which families are taken.
    """
    others = tuple(family for family in group.families if family.name not in known)
    start = {**group.identity(), **known}
    generator = torch.Generator().manual_seed(seed)
    return _descend(group, others, _wide(a), _wide(b), start, generator).permutations


def assign(gain: Tensor) -> Tensor:
    """The permutation `[n]` that maximizes `Σ_i gain[i, permutation[i]]`.

    Args:
        gain: `[n, n]`.
    """
    _, columns = linear_sum_assignment(gain.cpu().numpy(), maximize=True)
    return torch.from_numpy(np.asarray(columns, dtype=np.int64))


def overlap(a: Tensors, b: Tensors) -> float:
    """⟨θA, θB⟩ in float64."""
    return float(sum(torch.dot(a[name].flatten(), b[name].flatten()) for name in a))


def _wide(tensors: Tensors) -> dict[str, Tensor]:
    return {name: t.detach().to("cpu", torch.float64) for name, t in tensors.items()}


def _descend(
    group: PermutationGroup,
    families: tuple[Family, ...],
    a: Tensors,
    b: Tensors,
    start: Mapping[str, Tensor],
    generator: torch.Generator,
) -> Matching:
    permutations = dict(start)
    moved = group.apply(b, permutations)
    least = _GAIN * (overlap(a, a) * overlap(b, b)) ** 0.5
    passes = 0
    improved = True
    while improved and passes < _PASSES:
        improved = False
        passes += 1
        for number in torch.randperm(len(families), generator=generator).tolist():
            family = families[number]
            places = [place for place in family.places if place.name in a]
            gains = _gains(places, a, moved)
            step = assign(gains)
            tensors = {place.name: moved[place.name] for place in places}
            trial = group.apply(tensors, {family.name: step})
            own = {name: a[name] for name in trial}
            # The change itself, which the linear part only predicts where units are coupled.
            gain = (
                overlap(own, trial) - overlap(own, tensors)
                if family.coupled
                else float(gains[torch.arange(len(step)), step].sum() - gains.trace())
            )
            if gain > least:
                moved.update(trial)
                permutations[family.name] = permutations[family.name][step]
                improved = True
    return Matching(permutations, overlap(a, moved), passes)


def _gains(places: list[Place], a: Tensors, moved: Tensors) -> Tensor:
    """`[n, n]`: overlap of what belongs to unit `i` of A and to unit `j` of B."""
    return sum((place.slices(a) @ place.slices(moved).T for place in places), start=torch.zeros(()))


def _by_invariants(group: PermutationGroup, a: Tensors, b: Tensors) -> dict[str, Tensor]:
    """Assign units by their weights in an order that does not depend on other families."""
    free = {(place.name, place.rows, place.axis) for f in group.families for place in f.places}
    result = {}
    for family in group.families:
        places = [place for place in family.places if place.name in a]
        gains = sum(
            (_invariant(place, a, free) @ _invariant(place, b, free).T for place in places),
            start=torch.zeros(()),
        )
        result[family.name] = assign(gains)
    return result


def _invariant(
    place: Place, tensors: Tensors, free: set[tuple[str, tuple[int, int] | None, int | None]]
) -> Tensor:
    """What belongs to each unit, sorted wherever it also belongs to units that may move."""
    view = place.view(tensors)
    count, each = place.index.shape
    rows = view[place.index.flatten()].reshape(count, each, -1)
    others = {axis for name, part, axis in free if (name, part) == (place.name, place.rows)}
    return (rows.sort(-1).values if others - {place.axis} else rows).flatten(1)


def units_of(family: Family, values: Tensor, axis: int, index: Tensor) -> Tensor:
    """Values of a tensor unit by unit, `[units, ...]`.

    Args:
        family: of the units.
        values: of any shape.
        axis: along which they stand.
        index: `[units, m]`: at which positions.
    """
    return values.movedim(axis, 0)[index.flatten()].reshape(family.size, -1)
