import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from thalweg.errors import InputError
from thalweg.theory import get_statement
from thalweg.theory.prop23 import DISTRIBUTIONS, Gaps, Gaussian, Sample, allowed, printed


def pair(rng, n):
    """Two orthonormal rows."""
    first, second = np.linalg.qr(rng.normal(size=(n, 2)))[0].T
    return first[None], second[None]


@settings(max_examples=200)
@given(
    st.integers(0, 10**6), st.integers(2, 6), st.integers(1, 12),
    st.floats(1e-4, np.pi - 1e-4), st.booleans(),
)  # fmt: skip
def test_no_sample_and_no_angle_violates_a_bound(seed, n, atoms, alpha, integers):
    rng = np.random.default_rng(seed)
    points = rng.integers(-1, 2, (atoms, n)) + 0.0 if integers else rng.normal(size=(atoms, n))
    sample = Sample(points, rng.dirichlet(np.ones(atoms)))
    gap = float(Gaps.of(sample, *pair(rng, n), alpha).gap[0])
    slack = 1e-12 * max(sample.norm, 1e-12)
    assert -slack <= gap <= allowed(alpha) * sample.norm + slack
    assert allowed(alpha) <= printed(alpha)


@pytest.mark.parametrize("theta", [0.0, 1e-6, 0.3, 1.5, 3.0, np.pi])
def test_the_gaussian_product_in_closed_form_is_the_integral(theta):
    # In the plane <., x> = radius cos(angle), and the mean of radius² is 2.
    expected = quad(
        lambda u: max(np.cos(u), 0) * max(np.cos(u - theta), 0) / np.pi, -np.pi, np.pi,
        points=[-np.pi / 2, np.pi / 2, theta - np.pi / 2], epsabs=1e-12,
    )[0]  # fmt: skip
    v, w = np.array([[1.0, 0.0]]), np.array([[np.cos(theta), np.sin(theta)]])
    assert Gaussian(np.eye(2)).product(v, w)[0] == pytest.approx(expected, abs=1e-10)


def test_the_gaussian_product_knows_its_covariance():
    rng = np.random.default_rng(0)
    root = rng.normal(size=(3, 3))
    v, w = rng.normal(size=(2, 1, 3))
    sample = Sample.of(rng.normal(size=(400_000, 3)) @ root.T)
    exact = Gaussian(root @ root.T).product(v, w)[0]
    assert sample.product(v, w)[0] == pytest.approx(exact, rel=0.01)
    # And a change of coordinates moves it into the vectors.
    white = Gaussian(np.eye(3)).product(v @ root, w @ root)[0]
    assert exact == pytest.approx(white, rel=1e-12)


@pytest.mark.parametrize("alpha", [1e-3, 0.1, 1.0, np.pi / 2])
def test_two_atoms_attain_the_sharp_bound(alpha):
    sample = Sample.extremal(alpha)
    gap = float(Gaps.of(sample, np.eye(2)[:1], np.eye(2)[1:], alpha).gap[0])
    assert gap == pytest.approx(allowed(alpha) * sample.norm, rel=1e-6)


def test_an_atom_on_the_bisector_exceeds_the_linear_product():
    alpha = 0.2
    gaps = Gaps.of(Sample.of(np.array([[1.0, 0.0]])), np.eye(2)[:1], np.eye(2)[1:], alpha)
    assert gaps.gap[0] == pytest.approx(0.0, abs=1e-15)
    assert gaps.over_linear[0] == pytest.approx(np.sin(alpha / 2) ** 2)


def test_for_small_angles_the_printed_bound_is_ten_times_the_sharp_one():
    assert printed(1e-3) / allowed(1e-3) == pytest.approx(10, rel=1e-5)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_the_bounds_hold_for_every_distribution(distribution):
    finding = get_statement("prop-2.3").check(distribution, samples=100, angles=6, pairs=20)
    assert finding.holds
    assert 0.2 < finding.values["largest_share_of_sharp_allowance"] <= 1
    measured, sharp, loose = (np.array(series.y) for series in finding.charts[0].series)
    assert (measured <= sharp * (1 + 1e-6)).all()
    assert (sharp < loose).all()


@pytest.mark.parametrize("arguments", [
    {"distribution": "cauchy"}, {"dimension": 1}, {"samples": 0}, {"angles": 0}, {"pairs": 0},
])  # fmt: skip
def test_bad_input_is_one_sentence(arguments):
    with pytest.raises(InputError, match=r"expected .* got "):
        get_statement("prop-2.3").check(**arguments)
