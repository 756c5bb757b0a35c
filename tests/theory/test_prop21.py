import pytest

from thalweg.errors import InputError
from thalweg.theory import get_statement
from thalweg.theory.prop21 import LANDSCAPES


@pytest.mark.parametrize("landscape", LANDSCAPES)
def test_the_proposition_holds_on_every_landscape(landscape):
    assert get_statement("prop-2.1").check(landscape=landscape, resolution=201).holds


def test_minima_are_those_of_the_literature():
    values = get_statement("prop-2.1").check(landscape="six-hump-camel", resolution=801).values
    # Dixon & Szegö 1978: -1.0316 twice, -.2155 twice, 2.1043 twice.
    assert values["minima"] == pytest.approx(
        [-1.0316, -1.0316, -0.2155, -0.2155, 2.1043, 2.1043], abs=1e-3
    )


def test_a_bad_minimum_lies_in_a_component_of_its_own():
    values = get_statement("prop-2.1").check(landscape="tilted-double-well").values
    assert values["components_at_bad_minima"] == [2]
    assert not values["all_level_sets_connected"]


def test_one_valley_is_connected_at_every_level():
    assert get_statement("prop-2.1").check(landscape="banana").values["all_level_sets_connected"]


def test_unknown_landscapes_are_refused():
    with pytest.raises(InputError, match="expected a landscape"):
        get_statement("prop-2.1").check(landscape="plain")


def test_a_grid_too_coarse_for_a_minimum_is_refused():
    with pytest.raises(InputError, match="got a resolution of 3: take a larger one"):
        get_statement("prop-2.1").check(landscape="banana", resolution=3)
