"""What is looked at before a proof: the middle of a segment, and beside it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from thalweg import Criterion, Objective
from thalweg.certify import Proved, Span
from thalweg.certify.certificate import Certificate


def climbing(top: int) -> Objective:
    """An error rate of .37 at t = 0 that climbs by .01 every .01 up to t = top/100, then falls.

    A boundary between two classes moves over 100 examples, one after the other.
    """
    x = torch.stack([torch.ones(100), (torch.arange(100) + 0.5) / 100], 1)
    number = torch.arange(100)
    target = ((number < top) | (number >= top + 37)).long()
    return Objective(
        nn.Linear(2, 2, bias=False), nn.functional.cross_entropy, train=(x, target),
        criterion=Criterion("error_rate"),
    )  # fmt: skip


def certify(objective: Objective, level: float) -> Certificate:
    ends = torch.tensor([[0.0, 0.0, 0.0, 1.0], [0.0, 0.0, -1.0, 1.0]])
    at_start, at_end = objective.criterion_of(ends).values[:, 0].tolist()
    (found,) = Proved().certify(objective, [Span(ends[0], ends[1], at_start, at_end, level)])
    return found


def test_an_error_rate_close_to_the_threshold_is_refused_by_a_value_beside_the_middle():
    found = certify(climbing(44), 0.76)  # .75 at the middle, .80 or .81 at 7/16
    assert not found.accepted
    assert found.argmax == 7 / 16
    assert 0.76 < found.seen <= 0.82
    assert found.half == pytest.approx(0.75, abs=0.011)
    assert found.evaluations == 2 + 2
    assert not found.bound_evaluations


def test_where_no_value_beside_the_middle_is_too_high_the_segment_is_proved():
    found = certify(climbing(50), 0.885)  # .87 at the middle
    assert found.accepted
    assert found.bound is not None
    assert 0.86 <= found.bound <= 0.885
    assert found.evaluations == 2 + 5


def test_where_the_middle_is_far_below_nothing_else_is_looked_at():
    found = certify(climbing(44), 0.95)
    assert found.accepted
    assert found.evaluations == 2 + 1
