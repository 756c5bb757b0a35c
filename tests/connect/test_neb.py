"""Elastic bands against Henkelman & Jónsson (2000), Eqs. 8 to 12, image by image."""

from __future__ import annotations

import math

import pytest
import torch

from thalweg.connect.henkelman2000neb import nudged, spaced, tangents

BEFORE, HERE, AFTER = (
    torch.tensor(p, dtype=torch.float64) for p in ([0.0, 0.0], [1.0, 0.5], [1.5, 2.0])
)


def by_the_equations(v_before, v_here, v_after):
    """The tangent at three images, case by case as printed."""
    forward, backward = AFTER - HERE, HERE - BEFORE  # Eq. 9
    if v_after > v_here > v_before:  # Eq. 8
        tangent = forward
    elif v_after < v_here < v_before:
        tangent = backward
    else:
        largest = max(abs(v_after - v_here), abs(v_before - v_here))  # Eq. 11
        least = min(abs(v_after - v_here), abs(v_before - v_here))
        if v_after > v_before:  # Eq. 10
            tangent = forward * largest + backward * least
        else:
            tangent = forward * least + backward * largest
    return tangent / torch.linalg.vector_norm(tangent)


@pytest.mark.parametrize("values", [
    (0.0, 1.0, 3.0), (3.0, 1.0, 0.0), (0.0, 3.0, 1.0), (1.0, 3.0, 0.0), (2.0, 0.0, 5.0),
    (5.0, 0.0, 2.0), (1.0, 1.0, 2.0), (2.0, 1.0, 1.0),
])  # fmt: skip
def test_the_tangent_is_that_of_equations_8_to_11(values):
    path = torch.stack([BEFORE, HERE, AFTER])
    found = tangents(path, torch.tensor(values, dtype=torch.float64))
    assert torch.allclose(found[0], by_the_equations(*values), atol=1e-15)


def test_at_a_maximum_the_side_of_the_higher_neighbour_weighs_more():
    path = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]]).double()
    (found,) = tangents(path, torch.tensor([0.0, 3.0, 2.0]))  # the next image is higher
    assert torch.allclose(found, torch.tensor([1.0, 3.0]).double() / math.sqrt(10))


def test_images_of_equal_loss_have_the_tangent_of_their_neighbours():
    path = torch.stack([BEFORE, HERE, AFTER])
    (found,) = tangents(path, torch.ones(3))
    assert torch.allclose(found, (AFTER - BEFORE) / torch.linalg.vector_norm(AFTER - BEFORE))


def test_images_on_top_of_each_other_have_no_tangent_and_no_nan():
    assert torch.equal(tangents(torch.ones(3, 2), torch.tensor([0.0, 1.0, 2.0])), torch.zeros(1, 2))


def test_the_force_is_the_gradient_across_and_the_spring_along():
    path = torch.tensor([[0.0, 0.0], [1.0, 0.0], [4.0, 0.0]]).double()
    directions = torch.tensor([[1.0, 0.0]]).double()
    gradient = torch.tensor([[5.0, 7.0]]).double()
    assert nudged(gradient, path, directions).tolist() == [[0.0, 7.0]]
    # Eq. 12: k (3 - 1) along the tangent, as a force; what is descended has the other sign.
    assert nudged(gradient, path, directions, spring=0.5).tolist() == [[-1.0, 7.0]]


def test_stiff_springs_give_every_segment_its_share_of_the_length():
    path = torch.tensor([[0.0, 0.0], [3.0, 0.0], [3.0, 1.0], [3.0, 6.0]]).double()
    moved = spaced(path, torch.tensor([0.2, 0.3, 0.5]))
    assert torch.allclose(moved, torch.tensor([[1.8, 0.0], [3.0, 1.5]]).double())
    assert torch.allclose(spaced(path, torch.tensor([3.0, 1.0, 5.0]).double() / 9), path[1:-1])
