"""Exact linear algebra on small matrices of floats, which are rational numbers."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

Matrix = list[list[Fraction]]


def exact(matrix: np.ndarray) -> Matrix:
    """The entries of a float64 matrix as fractions."""
    return [[Fraction(float(entry)) for entry in row] for row in matrix]


def product(a: Matrix, b: Matrix) -> Matrix:
    """The matrix product."""
    columns = list(zip(*b, strict=True))
    return [[sum((x * y for x, y in zip(r, c, strict=True)), Fraction(0)) for c in columns]
            for r in a]  # fmt: skip


def independent_rows(matrix: Matrix) -> list[int]:
    """Indices of rows that form a basis of the row space, the first possible ones.

    Example:
        >>> independent_rows(exact(np.array([[1.0, 2], [2, 4], [0, 1]])))
        [0, 2]
    """
    basis: Matrix = []
    chosen = []
    for index, row in enumerate(matrix):
        rest = _reduce(row, basis)
        if any(rest):
            basis.append(rest)
            chosen.append(index)
    return chosen


def determinant_sign(matrix: Matrix) -> int:
    """Sign of the determinant of a square matrix: -1, 0 or 1, without error.

    Example:
        >>> determinant_sign(exact(np.array([[0.1, 0.2], [0.1, 0.2]])))
        0
        >>> determinant_sign(exact(np.array([[0.0, 1.0], [1.0, 0.0]])))
        -1
    """
    rows = [list(row) for row in matrix]
    sign = 1
    for column in range(len(rows)):
        pivot = next((i for i in range(column, len(rows)) if rows[i][column]), None)
        if pivot is None:
            return 0
        if pivot != column:
            rows[column], rows[pivot] = rows[pivot], rows[column]
            sign = -sign
        top = rows[column]
        sign = sign if top[column] > 0 else -sign
        for row in rows[column + 1 :]:
            factor = row[column] / top[column]
            row[column:] = [x - factor * y for x, y in zip(row[column:], top[column:], strict=True)]
    return sign


def parallel(a: Sequence[Fraction], b: Sequence[Fraction]) -> bool:
    """Whether two vectors are linearly dependent."""
    return len(independent_rows([list(a), list(b)])) < 2


def _reduce(row: Sequence[Fraction], basis: Matrix) -> list[Fraction]:
    """What is left of a row after elimination of the leading entries of a basis."""
    rest = list(row)
    for other in basis:
        lead = next(i for i, entry in enumerate(other) if entry)
        if rest[lead]:
            factor = rest[lead] / other[lead]
            rest = [x - factor * y for x, y in zip(rest, other, strict=True)]
    return rest
