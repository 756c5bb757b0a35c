"""The numbers of a comparison, and the picture made of them."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from tests.helpers import landscape, point, ring
from thalweg import InputError, compare, connect
from thalweg.plots import comparison_figure, compute_comparison, save_comparison

ENDS = point(1.0, 0.0), point(-1.0, -0.1)


@pytest.fixture(scope="module")
def found():
    objective = landscape(ring, 2, learning_rate=0.02)
    return compare(objective, *ENDS, threshold=0.3, methods=["linear", "greedy", "bezier"])


def test_every_method_has_its_row_in_order(found):
    info = compute_comparison(found)
    assert [row.method for row in info.rows] == ["linear", "greedy", "bezier"]
    assert [row.connected for row in info.rows] == [False, True, True]
    assert info.criterion == "loss on train"
    assert info.threshold == 0.3
    for row, connection in zip(info.rows, found, strict=True):
        assert row.gradient_samples == connection.counts.gradient_samples
        assert row.normalized_length == connection.normalized_length
        assert row.barrier == connection.max_criterion_seen - info.endpoint >= 0
        assert (row.bound is None) == (row.method == "linear")


def test_all_start_from_the_same_endpoints_and_a_progress_of_their_own(found):
    names = []

    def started(name):
        names.append(name)

    again = compare(landscape(ring, 2, learning_rate=0.02), *ENDS, threshold=0.3,
                    methods=["greedy", "linear"], started=started)  # fmt: skip
    assert names == ["greedy", "linear"]
    assert again[0].counts == found[1].counts


def test_connections_of_other_pairs_are_refused(found):
    other = connect(landscape(ring, 2), point(1.0, 0.0), point(0.0, 1.0), threshold=0.3)
    with pytest.raises(InputError, match="one pair"):
        compute_comparison([*found, other])
    with pytest.raises(InputError, match="none"):
        compute_comparison([])


def test_the_picture_shows_every_method_at_its_cost(found, tmp_path):
    info = compute_comparison(found)
    above, below = comparison_figure(info).axes
    for row in info.rows:
        (line,) = (line for line in above.lines if line.get_label() == row.method)
        assert (line.get_xdata()[0], line.get_ydata()[0]) == (row.gradient_samples, row.barrier)  # pyright: ignore
        (line,) = (line for line in below.lines if line.get_label() == row.method)
        assert line.get_ydata()[0] == row.normalized_length  # pyright: ignore
    save_comparison(found, tmp_path / "c.png")
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
    assert asdict(info)["rows"][0]["method"] == "linear"


def test_a_method_that_is_wrong_is_known_before_any_runs():
    names = []
    with pytest.raises(InputError, match="teleport"):
        compare(landscape(ring, 2), *ENDS, threshold=0.3, methods=["greedy", "teleport"],
                started=names.append)  # fmt: skip
    assert names == []
