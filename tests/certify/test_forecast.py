"""Where a segment is cut first: pieces that cover it, of the width that costs least."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from thalweg.certify.forecast import COARSEST, first_pieces


def steep(widest: float, left: float, right: float) -> float:
    """Nothing is left open up to a width, everything on twice that."""
    return min(1.0, max(0.0, (right - left) / widest - 1.0))


def cost(pieces: list[tuple[float, float]], widest: float) -> float:
    return sum(1 + 2 * steep(widest, *piece) for piece in pieces)


def covers(pieces: list[tuple[float, float]]) -> bool:
    inside = all(one[1] == two[0] for one, two in pairwise(pieces))
    ordered = all(left < right for left, right in pieces)
    return pieces[0][0] == 0 and pieces[-1][1] == 1 and inside and ordered


@pytest.mark.parametrize("widest", [1.0, 0.7, 0.5, 0.3, 0.2, 0.13, 0.1, 0.07, 0.03, 0.011])
def test_pieces_cost_hardly_more_than_the_best_equal_ones(widest: float):
    asked = []

    def share(left: float, right: float) -> float:
        asked.append((left, right))
        return steep(widest, left, right)

    pieces = first_pieces(share)
    assert covers(pieces)
    least = math.ceil(1 / (1.5 * widest))  # wider ones leave more than half open, and halves more
    equal = ([(i / n, (i + 1) / n) for i in range(n)] for n in range(least, 400))
    best = min(cost(pieces, widest) for pieces in equal)
    assert cost(pieces, widest) <= 1.15 * best + 1
    assert len(asked) <= 3 * len(pieces) + 8
    assert len(asked) == len(set(asked))


def test_pieces_are_narrow_only_where_they_have_to_be():
    pieces = first_pieces(
        lambda left, right: steep(0.02 if right > 0.5 else 0.2, left, right)
    )  # fmt: skip
    assert covers(pieces)
    wide = [right - left for left, right in pieces if right <= 0.5]
    narrow = [right - left for left, right in pieces if left > 0.55]
    assert max(wide) >= 0.15
    assert max(narrow[:-1]) <= 0.03


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_where_little_is_left_open_the_whole_is_one_piece(share: float):
    assert first_pieces(lambda left, right: share) == [(0.0, 1.0)]


def test_where_nothing_helps_pieces_are_no_narrower_than_a_forecast_is_trusted_for():
    pieces = first_pieces(lambda left, right: 1.0)
    assert covers(pieces)
    assert max(right - left for left, right in pieces) >= COARSEST / 2
