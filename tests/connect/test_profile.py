"""The profile: every split, beads included, values of a plain evaluation."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from tests.helpers import brute_force, landscape, point, ring, toy_classifier
from thalweg import Criterion, Polygonal, connect, load_connection, profile
from thalweg.connect import replaced_segments
from thalweg.errors import VerificationError


def test_the_profile_covers_every_split_and_every_bead(connection):
    shown = connection.profile
    assert shown.values.keys() == shown.linear.keys() == {"loss/train", "loss/test"}
    assert shown.examples == {"train": 64, "test": 40}
    assert len(shown.beads) == connection.beads + 2
    assert set(shown.beads) <= set(shown.t)
    assert (shown.t[0], shown.t[-1]) == (0.0, 1.0)
    assert list(shown.t) == sorted(set(shown.t))
    assert {i / 8 for i in range(9)} <= set(shown.t)
    assert all(len(v) == len(shown.t) for v in (*shown.values.values(), *shown.linear.values()))


@pytest.mark.parametrize("split", ["train", "test"])
def test_its_values_are_those_of_a_plain_evaluation(connection, objective, split):
    shown = connection.profile
    criterion = Criterion(split=split)
    points = connection.path.points
    for t, value, straight in zip(
        shown.t, shown.values[f"loss/{split}"], shown.linear[f"loss/{split}"], strict=True
    ):
        there = connection.path.at(torch.tensor([t], dtype=torch.float64))[0]
        assert value == pytest.approx(brute_force(objective, there, criterion), rel=1e-5)
        line = (1 - t) * points[0] + t * points[-1]
        assert straight == pytest.approx(brute_force(objective, line, criterion), rel=1e-4)
    for t, theta in zip(shown.beads, points, strict=True):
        value = shown.values[f"loss/{split}"][shown.t.index(t)]
        assert value == pytest.approx(brute_force(objective, theta, criterion), rel=1e-5)


def test_loss_and_criterion_are_both_shown_and_the_largest_value_is_on_the_path(objective):
    other = toy_classifier(3, criterion=Criterion("error_rate"))
    theta = objective.theta(objective.model)
    path = Polygonal(torch.stack([theta, -theta, 2 * theta]), objective.layout)
    shown = profile(other, path, 5)
    assert shown.values.keys() == {"loss/train", "error_rate/train"}


def test_a_callable_criterion_does_not_hide_the_loss():
    def loss(output, target):
        return (output - target).abs().mean()

    objective = toy_classifier(0, criterion=Criterion(loss))
    theta = objective.theta(objective.model)
    found = connect(objective, theta, theta + 0.01, threshold=5.0, profile_points=3)
    assert found.profile is not None
    assert len(found.profile.values) == 2


def test_a_path_around_a_ring_is_low_where_the_line_is_high():
    objective = landscape(ring, 2, learning_rate=0.02)
    found = connect(objective, point(1.0, 0.0), point(-1.0, 0.02), threshold=0.2, profile_points=33)
    assert found.profile is not None
    assert max(v for v in found.profile.values["loss/train"] if v is not None) <= 0.2
    assert max(v for v in found.profile.linear["loss/train"] if v is not None) > 0.9


def test_the_history_tells_which_segments_were_replaced_and_how_high_they_were(
    objective, connection
):
    history, profile = connection.history, connection.profile
    assert sorted(history) == list(range(1, connection.beads + 1))
    segments = replaced_segments(history)
    assert segments[0] == (0, connection.beads + 1)
    assert len(profile.replaced) == len(segments) == connection.beads
    for (a, b), values in zip(segments, profile.replaced, strict=True):
        t = torch.linspace(0, 1, len(values))[:, None]
        points = (1 - t) * connection.path.points[a] + t * connection.path.points[b]
        expected = objective.criterion_of(points).values[:, 0]
        assert values == pytest.approx(expected.tolist(), rel=1e-4)
        assert max(values) > 0.95 * connection.threshold, "it was refused"


def test_a_history_that_is_not_of_this_path_is_refused(connection, tmp_path):
    other = dataclasses.replace(connection, history=(1,) * connection.beads)
    other.save(tmp_path / "out")
    with pytest.raises(VerificationError, match="each of the"):
        load_connection(tmp_path / "out")
