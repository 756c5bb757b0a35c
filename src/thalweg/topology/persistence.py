"""Sublevel-set persistence of a surface: its minima, and the levels at which they are joined.

H0 persistence of the values on a grid, computed by gudhi's cubical complex on the values as they
are: exact on the grid given, no noise added. What it says about the function between the points is
for the reader to judge.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from thalweg.errors import InputError


@dataclass(frozen=True)
class Pair:
    """A local minimum of the grid, and where its component joins that of a lower one.

    Attributes:
        birth: value of the minimum.
        death: value at which it joins; inf for the lowest of all.
        minimum: its indices in the grid.
        saddle: indices of the point where it joins; None for the lowest of all.
    """

    birth: float
    death: float
    minimum: tuple[int, ...]
    saddle: tuple[int, ...] | None

    @property
    def persistence(self) -> float:
        """How far the component lasts."""
        return self.death - self.birth


def sublevel_persistence(values: ArrayLike, least: float = 0.0) -> tuple[Pair, ...]:
    """Pair the minima of values on a grid with the points where their components join.

    Points are neighbours along the axes of the grid, not diagonally.

    Args:
        values: `[n, m]`, or of any number of axes.
        least: pairs of no greater persistence are left out.

    Returns:
        The pairs, the most persistent first.

    Raises:
        InputError: if values are missing or NaN, or gudhi is not installed.

    Example:
        >>> sublevel_persistence([[0.0, 2.0, 1.0, 5.0]])
        (Pair(birth=0.0, death=inf, minimum=(0, 0), saddle=None),
         Pair(birth=1.0, death=2.0, minimum=(0, 2), saddle=(0, 1)))
    """
    heights = np.asarray(values, dtype=np.float64)
    if not heights.size or np.isnan(heights).any():
        raise InputError(
            f"expected values without NaN on a grid of at least one point, got shape "
            f"{list(heights.shape)}" + (" with NaN" if heights.size else "")
        )
    try:
        from gudhi import CubicalComplex
    except ImportError as error:
        raise InputError(
            "expected gudhi for persistence, got none: pip install 'thalweg[topology]'"
        ) from error
    # Persistence depends on the order of the values alone: with ranks in their place all are
    # finite and different (equal ones in the order of the grid, so that no pair gets lost).
    order = np.argsort(heights, axis=None, kind="stable")
    ranks = np.empty(heights.size)
    ranks[order] = np.arange(heights.size)
    complex_ = CubicalComplex(vertices=ranks.reshape(heights.shape))
    complex_.compute_persistence(homology_coeff_field=2, min_persistence=-1)
    pairs = []
    for birth, death in complex_.persistence_intervals_in_dimension(0):
        born = order[int(birth)]
        died = order[int(death)] if np.isfinite(death) else None
        pair = Pair(
            birth=float(heights.flat[born]),
            death=np.inf if died is None else float(heights.flat[died]),
            minimum=_indices(born, heights),
            saddle=None if died is None else _indices(died, heights),
        )
        if pair.persistence > least:
            pairs.append(pair)
    return tuple(sorted(pairs, key=lambda pair: (-pair.persistence, pair.birth, pair.minimum)))


def _indices(flat: int, grid: np.ndarray) -> tuple[int, ...]:
    return tuple(int(i) for i in np.unravel_index(flat, grid.shape))
