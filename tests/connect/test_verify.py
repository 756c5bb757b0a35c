"""A second look: passes on what is right, fails on whatever was changed."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from tests.helpers import double_well, landscape, point, ring, toy_classifier
from thalweg import Budget, Criterion, InputError, Polygonal, connect, load_connection, verify


def test_a_good_connection_passes_from_its_files_alone(connection, objective, tmp_path):
    connection.save(tmp_path / "out")
    seen = []
    result = verify(
        load_connection(tmp_path / "out"), objective, points=5,
        progress=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    assert result.passed, result.problems
    segments = connection.beads + 1
    assert result.points == 5 * segments + segments + 1
    steps = result.points + segments  # every point, and every segment proved again
    assert seen[-1] == (steps, steps)
    assert result.max_criterion_seen <= connection.max_criterion_bound <= result.threshold == 0.2


def moved(connection, index, by):
    points = connection.path.points.clone()
    points[index] += by
    return replace(connection, path=Polygonal(points, connection.path.layout))


def segment(connection, index, **changes):
    segments = list(connection.segments)
    segments[index] = replace(segments[index], **changes)
    return replace(connection, segments=tuple(segments))


def endpoint(connection, **changes):
    first, last = connection.endpoints
    return replace(connection, endpoints=(replace(first, **changes), last))


CHANGES = {
    "a bead moved far": lambda c: moved(c, 1, 1.0),
    "a bead moved by a millionth": lambda c: moved(c, 1, 1e-4),
    "an endpoint moved": lambda c: moved(c, 0, 1e-4),
    "a threshold below the path": lambda c: replace(c, threshold=0.15),
    "a bound far below what is there": lambda c: segment(c, 1, bound=1e-6, seen=1e-6),
    "a bound above the threshold": lambda c: segment(c, 0, bound=0.3),
    "no bound": lambda c: segment(c, 0, bound=None),
    "a bound of nan": lambda c: segment(c, 0, bound=math.nan),
    "a value above its bound": lambda c: segment(c, 0, seen=99.0),
    "a wrong length": lambda c: segment(c, 0, length=c.segments[0].length * 1.001),
    "a missing segment": lambda c: replace(c, segments=c.segments[:-1]),
    "an endpoint's criterion": lambda c: endpoint(c, criterion=0.0),
    "an endpoint's fingerprint": lambda c: endpoint(c, sha256="0" * 64),
    "a bead taken out": lambda c: replace(
        c, path=Polygonal(c.path.points[[0, -1]], c.path.layout), segments=c.segments[:1]
    ),
    "not a number in the path": lambda c: moved(c, 1, math.nan),
}


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_was_changed_is_found(change, connection, objective):
    result = verify(CHANGES[change](connection), objective)
    assert not result.passed
    assert result.problems


def test_a_value_that_is_not_finite_is_named_and_not_forgotten():
    def field(w):
        return torch.log(w[0] + 1).abs()

    objective = landscape(field)
    found = connect(objective, point(0.1), point(0.2), threshold=5.0)
    bad = replace(found, path=Polygonal(torch.tensor([[0.1], [-3.0], [0.2]]).double(),
                                        found.path.layout))  # fmt: skip
    result = verify(bad, objective)
    assert not result.passed
    assert math.isnan(result.max_criterion_seen)
    assert any("nan" in problem for problem in result.problems)


def test_a_path_that_rises_between_its_beads_is_found():
    """A chord across the ring, both ends in the valley, with a record that claims it is low."""
    objective = landscape(ring, 2)
    found = connect(objective, point(1.0, 0.0), point(0.99, 0.01), threshold=0.5)
    across = torch.tensor([[1.0, 0.0], [-1.0, 0.0]]).double()
    forged = replace(found, path=Polygonal(across, found.path.layout))
    result = verify(forged, objective)
    assert not result.passed
    assert result.max_criterion_seen == pytest.approx(1, abs=0.05)
    assert any("above the threshold" in problem for problem in result.problems)


def test_a_search_that_did_not_connect_fails():
    objective = landscape(double_well)
    budget = Budget(patience=20)
    found = connect(objective, point(-1.0), point(1.0), threshold=0.5, budget=budget)
    assert not verify(found, objective).passed


def test_equal_endpoints_pass():
    objective = landscape(double_well)
    assert verify(connect(objective, point(1.0), point(1.0), threshold=0.5), objective).passed


def test_other_data_another_model_or_criterion_are_bad_input(connection):
    with pytest.raises(InputError, match="another architecture"):
        verify(connection, landscape(double_well))
    with pytest.raises(InputError, match="SHA-256"):
        verify(connection, toy_classifier(4))
    with pytest.raises(InputError, match="criterion"):
        verify(connection, toy_classifier(3, criterion=Criterion("error_rate")))
    with pytest.raises(InputError, match="at least one point"):
        verify(connection, toy_classifier(3), points=0)
