import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.errors import InputError
from thalweg.theory import get_statement
from thalweg.theory.karhadkar2023 import full_rank, pattern_count, realizable_patterns

check = get_statement("karhadkar-2023").check


@settings(max_examples=25)
@given(st.integers(1, 9), st.integers(1, 4), st.integers(0, 10**6))
def test_patterns_are_all_that_are_realizable(more, d0, seed):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((d0 + more, d0))
    patterns = realizable_patterns(x)
    assert len(patterns) == pattern_count(len(x), d0)
    known = {row.tobytes() for row in patterns}
    drawn = rng.standard_normal((200, d0)) @ x.T > 0
    assert all(row.tobytes() in known for row in drawn)


def test_fewer_examples_than_inputs_allow_every_pattern():
    x = np.random.default_rng(0).standard_normal((3, 3))
    assert len(realizable_patterns(x)) == 2**3


@settings(max_examples=25)
@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 4), st.integers(0, 10**6))
def test_rank_is_that_of_the_jacobian_written_out(n, d0, d1, seed):
    rng = np.random.default_rng(seed)
    x, v = rng.standard_normal((n, d0)), rng.uniform(0.5, 2, d1) * rng.choice([-1, 1], d1)
    on = rng.random((d1, n)) < 0.5
    written = np.array(
        [
            [v[i] * on[i, j] * x[j, c] for i, c in itertools.product(range(d1), range(d0))]
            for j in range(n)
        ]
    )
    assert full_rank(x, on[None])[0] == (np.linalg.matrix_rank(written) == n)


@pytest.mark.parametrize(("examples", "inputs"), [(12, 2), (12, 3), (10, 4)])
def test_most_regions_of_a_mildly_wide_network_have_full_rank(examples, inputs):
    finding = check(examples=examples, inputs=inputs, regions=100)
    assert finding.holds, finding.sentence
    values = finding.values
    shares = np.array([values["share_by_count"], values["share_by_volume"]])
    below = [i for i, width in enumerate(values["widths"]) if width * inputs < examples]
    assert (shares[:, below] == 0).all()
    # Without a unit on at an example its row is zero.
    assert (shares[0] <= np.array(values["share_without_dark_examples"]) + 0.25).all()


def test_a_width_that_is_too_small_is_not_called_enough():
    assert not check(examples=12, inputs=2, max_width=4, regions=20).holds


@pytest.mark.parametrize(
    "options",
    [
        {"examples": 2, "inputs": 3},
        {"regions": 0},
        {"max_width": 0},
        {"seed": -1},
        {"examples": 90, "inputs": 9},
    ],
)
def test_bad_input_is_refused(options):
    with pytest.raises(InputError, match="expected"):
        check(**options)
