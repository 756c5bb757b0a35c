"""Figure 1: its numbers against closed forms, and that it is drawn as they say."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from thalweg.errors import InputError
from thalweg.plots.figure1 import figure1, save_figure1
from thalweg.plots.figure1_info import compute_figure1, fit_power_law
from thalweg.study import Row

ROW = Row(
    "cubic", "strict", 0.1, 0, 1, "greedy", "connected", "proved", 1.1, 2, 0.0999, 10, 5, 0.1
)  # fmt: skip
LEVELS = (0.4, 0.2, 0.1, 0.05)


def rows(task="cubic", protocol="strict") -> list[Row]:
    """Lengths L0^-0.25 and beads 2/L0 over all pairs, the last of which fails at the lowest."""
    return [
        replace(
            ROW, task=task, protocol=protocol, threshold=level, seed_a=2 * i, seed_b=2 * i + 1,
            normalized_length=level**-0.25 + (0.01, -0.01)[i] * (level != 0.05),
            beads=round(2 / level),
            outcome="bead stalled" if (level, i) == (0.05, 1) else "connected",
        )
        for level in LEVELS for i in range(2)
    ]  # fmt: skip


def test_the_fit_is_the_line_through_the_logarithms_with_its_standard_error():
    x, y = [0.4, 0.2, 0.1, 0.05, 0.02], [1.0, 1.3, 1.2, 1.9, 2.2]
    fit = fit_power_law(x, y)
    truth: Any = stats.linregress(np.log(x), np.log(y))
    assert fit is not None
    assert fit.exponent == pytest.approx(truth.slope)
    assert fit.exponent_error == pytest.approx(truth.stderr)
    assert fit.factor == pytest.approx(math.exp(truth.intercept))
    without = fit_power_law([*x, 0.8], [*y, 0.0])
    assert without == fit, "zero has no logarithm"
    assert fit_power_law(x[:2], y[:2]) is None
    assert fit_power_law([1, 1, 1], [1, 2, 3]) is None


def test_points_fits_and_failures():
    info = compute_figure1(rows())
    (series,) = info.series
    assert [point.threshold for point in series.points] == sorted(LEVELS)
    assert series.points[0].connected == 1
    assert series.points[0].pairs == 2
    assert series.length_fit is not None
    assert series.length_fit.exponent == pytest.approx(-0.25)
    assert series.length_fit.exponent_error == pytest.approx(0, abs=1e-9)
    assert series.beads_fit is not None
    assert series.beads_fit.exponent == pytest.approx(-1)
    length = series.points[1].length
    assert length is not None
    assert length.error == pytest.approx(0.01)


def test_protocols_and_methods_are_series_of_their_own_grouped_by_task():
    mixed = rows() + rows("quadratic") + rows(protocol="paper")
    info = compute_figure1(mixed)
    assert [(s.task, s.label) for s in info.series] == [
        ("cubic", "strict"), ("cubic", "paper"), ("quadratic", "strict")
    ]  # fmt: skip
    other = [replace(row, method="greedy(mult=1.2)") for row in rows()]
    assert [s.label for s in compute_figure1(rows() + other).series] == [
        "strict, greedy", "strict, greedy(mult=1.2)"
    ]  # fmt: skip


def test_cells_without_a_result_are_left_out():
    pending = [replace(row, outcome="open") for row in rows()]
    with pytest.raises(InputError, match="run the study first"):
        compute_figure1(pending)
    info = compute_figure1(rows()[:2] + pending[2:])
    assert [point.threshold for point in info.series[0].points] == [0.4]
    assert info.series[0].length_fit is None


def test_the_picture_shows_means_bars_fits_and_failures():
    figure = figure1(compute_figure1(rows() + rows("quadratic")))
    assert len(figure.axes) == 4
    left, right = figure.axes[:2]
    assert left.get_xscale() == left.get_yscale() == right.get_yscale() == "log"
    bars: Any = left.containers[0]
    drawn = np.asarray(bars.lines[0].get_ydata(), dtype=float)
    np.testing.assert_allclose(drawn, [x**-0.25 for x in sorted(LEVELS)])
    legend = left.get_legend()
    assert legend is not None
    assert legend.get_texts()[0].get_text() == "strict: L0^(-0.25 ± 0.00)"
    assert [text.get_text() for text in left.texts] == ["1/2"]


def test_no_beads_and_no_paths_are_drawn_at_the_foot():
    none = [replace(row, beads=0) for row in rows()[:4]]
    none += [replace(row, outcome="bead stalled") for row in rows()[4:]]
    right = figure1(compute_figure1(none)).axes[1]
    assert {text.get_text() for text in right.texts} == {"0/2"}
    heights = {float(y) for line in right.lines for y in np.atleast_1d(line.get_ydata())}
    assert heights == {0.7}


def _ticks(axes: Any) -> list[float]:
    low, high = axes.get_ylim()
    return [float(tick) for tick in axes.get_yticks() if low <= tick <= high]


def test_equal_numbers_and_narrow_ranges_have_ticks():
    same = [replace(row, beads=3, outcome="connected") for row in rows()]
    left, right = figure1(compute_figure1(same)).axes
    assert len(_ticks(left)) >= 3
    assert any(tick == pytest.approx(3) for tick in _ticks(right))
    low, high = right.get_ylim()
    assert low < 3 < high < 6


def test_few_thresholds_are_the_ticks():
    left, _ = figure1(compute_figure1(rows())).axes
    assert left.get_xticks().tolist() == sorted(LEVELS)


def test_bars_that_reach_zero_do_not_stretch_the_axis():
    wide = [replace(row, beads=8 * (row.seed_a == 0), outcome="connected") for row in rows()]
    right = figure1(compute_figure1(wide)).axes[1]
    low, high = right.get_ylim()
    assert 1 < low < 4 < 8 < high < 16


def test_where_nothing_connected_there_is_no_height_to_read():
    failed = [replace(row, outcome="bead stalled") for row in rows()]
    for axes in figure1(compute_figure1(failed)).axes:
        assert _ticks(axes) == []


def test_the_file(tmp_path):
    info = compute_figure1(rows())
    for suffix, start in ((".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")):
        save_figure1(info, tmp_path / f"figure{suffix}")
        assert (tmp_path / f"figure{suffix}").read_bytes().startswith(start)
    with pytest.raises(InputError, match=r"got figure\.gif"):
        save_figure1(info, tmp_path / "figure.gif")
