"""Levels at which minima are joined: from direct paths to minimax levels and components.

Two minima belong to one component of a level set where a chain of paths below the level leads from
one to the other. The lowest such level, over all chains, is their minimax level; among all minima
these levels are the cophenetic distances of single linkage (Gower & Ross 1969: they stand on the
minimum spanning tree).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.cluster.hierarchy import cophenet, linkage
from scipy.spatial.distance import squareform

from thalweg.errors import InputError

Levels = NDArray[np.float64]


def check_levels(energies: ArrayLike, levels: ArrayLike) -> tuple[Levels, Levels]:
    """Check energies of minima and levels between them.

    Args:
        energies: `[m]`, the criterion at the minima, finite.
        levels: `[m, m]`, the highest value on the best path known between two of them; inf where
            none is known. The diagonal is not looked at.

    Returns:
        Both in float64, the diagonal of the levels filled with the energies.

    Raises:
        InputError: if shapes do not fit, an energy is not finite, the levels are not symmetric, or
            one lies below an end of its path.
    """
    heights = np.asarray(energies, dtype=np.float64)
    between = np.array(levels, dtype=np.float64)
    if heights.ndim != 1 or not len(heights) or between.shape != 2 * heights.shape:
        raise InputError(
            f"expected energies [m] of at least one minimum and levels [m, m], got shapes "
            f"{list(heights.shape)} and {list(between.shape)}"
        )
    if not np.isfinite(heights).all():
        raise InputError("expected finite energies of minima, got NaN or inf")
    np.fill_diagonal(between, heights)
    if np.isnan(between).any() or (between != between.T).any():
        raise InputError("expected symmetric levels without NaN between minima")
    if (between < np.maximum.outer(heights, heights)).any():
        i, j = np.argwhere(between < np.maximum.outer(heights, heights))[0]
        raise InputError(
            f"expected levels at or above both ends of a path, got {between[i, j]:g} between "
            f"minima of {heights[i]:g} and {heights[j]:g}"
        )
    return heights, between


def minimax(energies: ArrayLike, levels: ArrayLike) -> Levels:
    """The lowest level at which two minima are joined by a chain of the paths known.

    Args:
        energies: `[m]`, of the minima.
        levels: `[m, m]`, of direct paths; see :func:`check_levels`.

    Returns:
        `[m, m]`: inf where no chain is known, the energies on the diagonal.

    Raises:
        InputError: see :func:`check_levels`.

    Example:
        >>> far = np.inf
        >>> minimax([0, 0, 0], [[0, 1, far], [1, 0, 2], [far, 2, 0]])
        array([[0., 1., 2.],
               [1., 0., 2.],
               [2., 2., 0.]])
    """
    heights, between = check_levels(energies, levels)
    if len(heights) < 2:
        return between
    # scipy's linkage takes finite distances of at least zero, with zeros on the diagonal: ranks
    # keep the order of levels, which is all that minimax levels depend on, and bring them back
    # without rounding.
    values, ranks = np.unique(between, return_inverse=True)
    ranks = ranks.reshape(between.shape).astype(np.float64) + 1
    np.fill_diagonal(ranks, 0)
    joined = squareform(cophenet(linkage(squareform(ranks), "single")))
    closed = values[np.maximum(joined - 1, 0).round().astype(int)]
    np.fill_diagonal(closed, heights)
    return closed


def components(energies: ArrayLike, levels: ArrayLike, level: float) -> NDArray[np.int64]:
    """Components of the level set, as far as paths are known.

    Args:
        energies: `[m]`, of the minima.
        levels: `[m, m]`, of direct paths; see :func:`check_levels`.
        level: minima above it belong to no component.

    Returns:
        `[m]`: numbers of components from 0 in order of their first minimum, -1 above the level.

    Raises:
        InputError: see :func:`check_levels`.

    Example:
        >>> components([0, 0, 0.5], [[0, 1, 3], [1, 0, 2], [3, 2, 0.5]], 1.5)
        array([0, 0, 1])
    """
    heights, _ = check_levels(energies, levels)
    joined = minimax(energies, levels) <= level
    labels = np.full(len(heights), -1, dtype=np.int64)
    count = 0
    for i in np.flatnonzero(heights <= level):
        if labels[i] < 0:
            labels[joined[i] & (heights <= level)] = count
            labels[i] = count
            count += 1
    return labels
