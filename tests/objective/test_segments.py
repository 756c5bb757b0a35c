"""Points of segments that meet: the values of each point alone, fewer runs of the first layer."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.helpers import brute_force, random_stack
from thalweg.objective import Criterion, Objective, segments
from thalweg.objective.segments import SegmentPoints, evaluate_on_segments, sharing_pays

LOSS = (Criterion("loss"),)


def build(inputs: int = 24, **options) -> Objective:
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(inputs, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    data = torch.randn(150, inputs).double(), torch.randint(0, 3, (150,))
    return Objective(model, functional.cross_entropy, train=data, **options)


def images() -> Objective:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 3))
    data = torch.randn(10, 1, 8, 8), torch.randint(0, 3, (10,))
    return Objective(model, functional.cross_entropy, train=data)


def string(models: Tensor, apart: Tensor) -> list[SegmentPoints]:
    """Three segments through four models, and one that meets none of them."""
    ends = [*itertools.pairwise(models), (apart[0], apart[1])]
    counts = [7, 9, 8, 6]
    return [
        SegmentPoints(start, end, torch.linspace(0, 1, count).double())
        for (start, end), count in zip(ends, counts, strict=True)
    ]


def test_values_at_points_of_segments_are_those_of_every_point_alone():
    objective = build()
    models = random_stack(objective, 6)
    parts = string(models[:4], models[4:])
    found = evaluate_on_segments(objective, parts, "train", LOSS)
    for part, own in zip(parts, found, strict=True):
        points = part.start + part.t[:, None] * (part.end - part.start)
        expected = [brute_force(objective, theta, LOSS[0]) for theta in points]
        assert own.values[:, 0].tolist() == pytest.approx(expected, rel=1e-11)
        assert own.complete.all()
        assert (own.evaluations, own.samples) == (len(part.t), len(part.t) * 150)


@pytest.mark.parametrize(("inputs", "expected"), [(24, [2, 1, 1]), (16, [1, 1, 1, 1])])
def test_two_segments_that_meet_are_one_plane_where_points_are_fewer_than_inputs(
    inputs: int, expected: list[int], monkeypatch: pytest.MonkeyPatch
):
    objective = build(inputs)
    models = random_stack(objective, 6)
    directions, evaluate = [], segments.evaluate_on

    def counted(objective, origin, rows, *args, **options):
        directions.append(len(rows))
        return evaluate(objective, origin, rows, *args, **options)

    monkeypatch.setattr(segments, "evaluate_on", counted)
    evaluate_on_segments(objective, string(models[:4], models[4:]), "train", LOSS)
    assert directions == expected


def test_points_share_the_first_layer_where_there_are_enough_of_them():
    least = {build: 4, images: 6, lambda: build(2): 128}
    for make, points in least.items():
        assert not sharing_pays(make(), points)
        assert sharing_pays(make(), points + 1)
    assert not sharing_pays(build(strategy="loop"), 1000)


def test_points_above_a_ceiling_are_left_where_they_are_known_to_be():
    objective = build()
    models = random_stack(objective, 6)
    parts = string(models[:4], models[4:])
    exact = evaluate_on_segments(objective, parts, "train", LOSS)
    ceiling = float(torch.cat([part.values for part in exact]).median())
    found = evaluate_on_segments(objective, parts, "train", LOSS, ceiling=ceiling)
    for own, other in zip(found, exact, strict=True):
        below = other.values <= ceiling
        assert torch.equal(own.values <= ceiling, below)
        torch.testing.assert_close(own.values[below], other.values[below])
