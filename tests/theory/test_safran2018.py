import pytest

from thalweg.errors import InputError
from thalweg.theory import get_statement
from thalweg.theory.safran2018 import PUBLISHED

check = get_statement("spurious-minima").check


def test_every_spurious_minimum_found_is_one():
    finding = check(k=8, runs=150, seed=1)
    values = finding.values
    assert finding.holds
    assert values["spurious"] > 0
    assert values["uncertified"] == 0
    assert values["converged"] == values["runs"] == 150
    assert values["least_eigenvalue"] > 0
    assert values["greatest_gradient_norm"] < 1e-9
    assert len(finding.charts[0].series[0].x) == values["spurious"]


def test_shares_agree_with_the_published_ones():
    values = check(k=8, runs=150, seed=1).values
    assert values["published_spurious_percent"] == PUBLISHED[8, 8][0]
    assert abs(values["spurious_percent_z"]) < 3.5
    # At k = 8 there is one kind of spurious minimum (Table 1: .021, .021).
    assert values["mean_least_eigenvalue"] == pytest.approx(0.021, abs=5e-4)
    assert values["mean_objective"] == pytest.approx(0.021, abs=6e-4)
    assert len(values["objectives"]) == 1


def test_small_students_find_the_teacher():
    values = check(k=4, runs=60).values
    assert values["spurious_percent"] == 0
    assert values["mean_objective"] is None
    assert "published_spurious_percent" not in values


def test_one_more_unit_than_the_teacher_has_mostly_suffices():
    assert check(k=8, n=9, runs=40).values["spurious_percent"] < 3


def test_a_unit_that_vanishes_is_no_minimum():
    # With one input a unit of the wrong sign shrinks to zero, where F has a kink.
    finding = check(k=1, runs=20)
    assert not finding.holds
    assert finding.values["spurious"] == 0
    assert finding.values["uncertified"] > 0


def test_undecided_runs_are_reported():
    finding = check(k=5, runs=10, max_steps=50)
    assert not finding.holds
    assert finding.values["converged"] < 10


def test_the_same_seed_gives_the_same_values():
    assert check(k=6, runs=20, seed=5).values == check(k=6, runs=20, seed=5).values


@pytest.mark.parametrize(
    "options",
    [
        {"k": 0}, {"k": 4, "n": 3}, {"k": 300}, {"runs": 0}, {"max_steps": 0}, {"scale": 0.0},
        {"scale": float("nan")}, {"seed": -1},
    ],
)  # fmt: skip
def test_bad_input_is_refused(options):
    with pytest.raises(InputError, match="expected"):
        check(**options)
