"""Pictures of planes show the cells as they are, where they are."""

from __future__ import annotations

import csv
import io
import math

import numpy as np
import pytest
import torch

from tests.helpers import landscape, point
from thalweg import InputError, Plane, Polygonal, plane
from thalweg.geometry import Frame
from thalweg.plots import STYLES, plane_figure, plane_positions, plane_table, render

OBJECTIVE = landscape(lambda w: torch.log(w[0]) + 10 * w[1] ** 2, 2)
FRAME = Frame(torch.zeros(2).double(), torch.eye(2).double(), ("first", "second"))


@pytest.fixture(scope="module")
def found() -> Plane:
    """Not square; a row where the value is not finite; a path across."""
    path = Polygonal(torch.tensor([[1.0, 0.0], [2.0, 0.5], [3.0, 0.0]]).double(), OBJECTIVE.layout)
    return plane(OBJECTIVE, FRAME, ((0, 3), (0, 1)), (4, 3), models={"<A>$x$": point(1.0, 0.0)},
                 paths={"string": path}, threshold=1.0)  # fmt: skip


def test_cells_stand_where_they_were_evaluated_with_the_values_they_had(found):
    axes = plane_figure(found).axes[0]
    (image,) = axes.get_images()
    shown = np.ma.asarray(image.get_array())
    assert shown.shape == (3, 4), "rows go up the second axis"
    left, right, bottom, top = image.get_extent()
    for i, x in enumerate([0, 1, 2, 3]):
        for j, y in enumerate([0, 0.5, 1]):
            column = int((x - left) / (right - left) * 4)
            row = int((y - bottom) / (top - bottom) * 3)
            assert (column, row) == (i, j)
            expected = math.log(x) + 10 * y**2 if x > 0 else None
            cell = shown[row, column]
            assert np.ma.is_masked(cell) if expected is None else cell == pytest.approx(expected)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("first", "second")


def test_cells_that_are_not_finite_are_counted_in_the_legend(found):
    texts = [text.get_text() for text in plane_figure(found).legends[0].get_texts()]
    assert "3 cells that are not finite" in texts
    assert "threshold L0 = 1" in texts


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_every_style_is_a_picture(found, style, kind):
    assert len(render(plane_figure(found, style), kind)) > 5000


def test_names_are_text(found):
    assert "&lt;A&gt;$x$" in render(plane_figure(found), "svg").decode()


def test_tables_hold_every_cell_and_every_position(found):
    rows = list(csv.DictReader(io.StringIO(plane_table(found).csv())))
    assert len(rows) == 12
    for row in rows:
        x, y = float(row["first"]), float(row["second"])
        value = float(row["loss on train"])
        assert row["finite"] == str(x > 0)
        if x > 0:
            assert value == pytest.approx(math.log(x) + 10 * y**2)
    positions = plane_positions(found)
    assert positions.rows[0] == ("model", "<A>$x$", 1.0, 0.0, 0.0)
    assert [row[2:4] for row in positions.rows[1:]] == [(1, 0), (2, 0.5), (3, 0)]


def test_a_line_is_a_curve_with_gaps():
    frame = Frame(point(0.0, 0.0), torch.eye(2).double()[:1], ("along",))
    found = plane(OBJECTIVE, frame, ((-1, 3),), 9, models={"A": point(1.0, 0.0)}, threshold=0.5)
    axes = plane_figure(found).axes[0]
    drawn = np.asarray(axes.get_lines()[0].get_ydata())
    assert [math.isnan(y) for y in drawn] == [True] * 3 + [False] * 6
    assert len(plane_table(found).rows) == 9


def test_nothing_finite_at_all_is_still_a_picture():
    found = plane(OBJECTIVE, FRAME, ((-3, -1), (0, 1)), 3, threshold=1.0)
    for style in STYLES:
        render(plane_figure(found, style), "png")


def test_an_unknown_style_is_refused(found):
    with pytest.raises(InputError, match="heat, contour, relief"):
        plane_figure(found, "globe")  # type: ignore[arg-type]
