"""Beads on the hyperplane equidistant from their neighbours (Freeman & Bruna 2017, Appendix A)."""

from __future__ import annotations

import math

import pytest
import torch

from tests.helpers import landscape, point, ring
from thalweg import Budget, Constrained, connect
from thalweg.connect.freeman2017constrained import Equidistant


def augmented(theta, left, right, zeta, kappa):
    """The augmented loss as derived, without F: the truth that autograd differentiates."""
    middle = (left + right) / 2
    normal = (right - left) / torch.linalg.vector_norm(right - left)
    springs = torch.linalg.vector_norm(left - theta) + torch.linalg.vector_norm(right - theta)
    return zeta * springs + kappa * (normal @ (theta - middle)).abs()


@pytest.mark.parametrize(("zeta", "kappa"), [(0.3, 0.0), (0.0, 0.7), (0.2, 0.5)])
def test_the_gradient_is_that_of_the_augmented_loss(zeta, kappa):
    theta, left, right = torch.randn(3, 8, generator=torch.Generator().manual_seed(1)).double()
    theta.requires_grad_()
    (expected,) = torch.autograd.grad(augmented(theta, left, right, zeta, kappa), theta)
    found = Equidistant(left, right, zeta=zeta, kappa=kappa).gradient(theta.detach())
    assert torch.allclose(found, expected, atol=1e-14)


def test_the_term_vanishes_exactly_where_both_neighbours_are_equally_far():
    theta, left, right = torch.randn(3, 8, generator=torch.Generator().manual_seed(2)).double()
    between = Equidistant(left, right)
    on = between.project(theta)
    apart = [float(torch.linalg.vector_norm(on - end)) for end in (left, right)]
    assert apart[0] == pytest.approx(apart[1], rel=1e-14)
    assert abs(float(between.offset(on))) < 1e-14
    # The printed formula, with the difference in place of the sum, does not vanish there.
    normal = (left - right) / torch.linalg.vector_norm(left - right)
    assert abs(float(normal @ (on - (left - right) / 2))) > 0.1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_bead_is_equidistant_from_the_ends_of_the_segment_that_it_split(dtype):
    def field(w):  # a ring that is lower on one side: beads would drift along it
        return (w.square().sum() - 1) ** 2 * (1 + 0.5 * w[0]) + 0.01 * (1 - w[0])

    objective = landscape(field, 2, dtype=dtype, learning_rate=0.01)
    ends = point(1.0, 0.0, dtype=dtype), point(-math.cos(0.2), -math.sin(0.2), dtype=dtype)
    found = connect(objective, *ends, threshold=0.1, method="constrained")
    free = connect(objective, *ends, threshold=0.1, method="greedy")
    assert found.connected
    beads = list(found.path.points)

    def worst(points):
        """Of a bead on the string: how much nearer one end of its segment is than the other.

        The bead that split the segment first is the one that makes this least.
        """
        if len(points) <= 2:
            return 0.0
        inner = torch.stack(points[1:-1]).double()
        apart = [
            torch.linalg.vector_norm(inner - end.double(), dim=1) for end in (points[0], points[-1])
        ]
        off = (apart[0] - apart[1]).abs()
        i = int(off.argmin()) + 1
        return max(float(off[i - 1]), worst(points[: i + 1]), worst(points[i:]))

    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    assert worst(beads) < tolerance
    assert worst(list(free.path.points)) > 1e-3, "without the constraint beads drift"


def test_kappa_keeps_a_bead_near_the_hyperplane_and_zeta_near_its_neighbours():
    def tilted(w):
        return (w.square().sum() - 1) ** 2 + 0.02 * (1 - w[0])

    objective = landscape(tilted, 2, learning_rate=0.005)
    ends = point(1.0, 0.0), point(-1.0, -0.05)

    def first_bead(**options):
        budget = Budget(beads=1)
        path = connect(objective, *ends, threshold=0.06, method=Constrained(alpha=0.5, **options),
                       budget=budget).path.points  # fmt: skip
        return path[1]

    def off(theta):
        return abs(float(Equidistant(*ends).offset(theta)))

    free, soft = first_bead(kappa=0.0), first_bead(kappa=0.05)
    assert off(first_bead()) < 1e-12
    assert off(soft) < off(free)

    def reach(theta):
        return sum(float(torch.linalg.vector_norm(theta - end)) for end in ends)

    assert reach(first_bead(zeta=0.01)) <= reach(first_bead())


def test_the_centre_of_a_symmetric_ring_is_on_the_hyperplane_and_stays_there():
    """At the exact centre the gradient is zero: named, not hidden."""
    found = connect(landscape(ring, 2), point(1.0, 0.0), point(-1.0, 0.0), threshold=0.3,
                    method="constrained", budget=Budget(patience=50))  # fmt: skip
    assert str(found.outcome) == "bead stalled"
