"""Persistence of sublevel sets against a union-find that sweeps the values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

pytest.importorskip("gudhi", reason="needs gudhi: pip install 'thalweg[topology]'")

from thalweg.errors import InputError
from thalweg.topology import sublevel_persistence


def swept(values):
    """Births and deaths, by adding points in order of value and joining components."""
    flat = values.ravel()
    root, pairs = {}, []

    def find(i):
        while root[i] != i:
            i = root[i]
        return i

    order = np.argsort(flat, kind="stable")
    rank = {int(i): k for k, i in enumerate(order)}
    for i in map(int, order):
        root[i] = i
        row, column = divmod(i, values.shape[1])
        for a, b in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
            if 0 <= a < values.shape[0] and 0 <= b < values.shape[1]:
                j = a * values.shape[1] + b
                if j in root and find(j) != find(i):
                    older, younger = sorted((find(i), find(j)), key=rank.__getitem__)
                    if younger != i:
                        pairs.append((flat[younger], flat[i]))
                    root[younger] = older
    return sorted((b, d) for b, d in pairs if d > b)


grids = npst.arrays(
    float, st.tuples(st.integers(1, 6), st.integers(1, 6)), elements=st.integers(0, 9).map(float)
)


@given(grids)
def test_pairs_are_those_of_a_sweep_on_any_grid(values):
    pairs = sublevel_persistence(values)
    assert pairs[0].birth == values.min()
    assert pairs[0].death == np.inf
    assert sorted((p.birth, p.death) for p in pairs[1:]) == swept(values)
    for pair in pairs:
        assert values[pair.minimum] == pair.birth
        assert pair.saddle is None or values[pair.saddle] == pair.death


def test_minima_and_saddles_of_known_landscapes_are_found():
    # Müller & Brown 1979: minima at -146.70, -108.17, -80.77; saddles at -72.25 and -40.66.
    x, y = np.meshgrid(np.linspace(-1.5, 1.2, 541), np.linspace(-0.2, 2, 441), indexing="ij")
    pairs = sublevel_persistence(muller_brown(x, y), least=1)
    found = [(round(p.birth, 1), round(p.death, 1)) for p in pairs]
    assert found == [(-146.7, np.inf), (-108.2, -40.7), (-80.8, -72.2)]


def muller_brown(x, y):
    rows = zip(
        (-200, -100, -170, 15), (-1, -1, -6.5, 0.7), (0, 0, 11, 0.6), (-10, -10, -6.5, 0.7),
        (1, 0, -0.5, -1), (0, 0.5, 1.5, 1), strict=True,
    )  # fmt: skip
    return sum(
        A * np.exp(a * (x - u) ** 2 + b * (x - u) * (y - v) + c * (y - v) ** 2)
        for A, a, b, c, u, v in rows
    )


def test_rastrigins_minima_on_a_grid():
    x, y = np.meshgrid(*2 * [np.linspace(-2.4, 2.4, 481)], indexing="ij")
    values = 20 + x**2 + y**2 - 10 * (np.cos(2 * np.pi * x) + np.cos(2 * np.pi * y))
    births = sorted(p.birth for p in sublevel_persistence(values, least=1))
    expected = sorted(i**2 + j**2 for i in range(-2, 3) for j in range(-2, 3))
    np.testing.assert_allclose(births, expected, atol=0.12)  # the minima lie a little inside


def test_inf_is_a_value_and_nan_is_refused():
    pairs = sublevel_persistence([[0.0, np.inf, 1.0]])
    assert [(p.birth, p.death) for p in pairs] == [(0, np.inf), (1, np.inf)]
    with pytest.raises(InputError, match="NaN"):
        sublevel_persistence([[0.0, np.nan]])
    with pytest.raises(InputError, match="at least one point"):
        sublevel_persistence(np.zeros((0, 3)))
