"""Charts of the theory as figures."""

from __future__ import annotations

import pytest

from thalweg.errors import InputError
from thalweg.plots.charts import charts_figure, save_charts
from thalweg.theory import Chart, Series


def chart(**options) -> Chart:
    series = Series(label="a", x=(16.0, 256.0, 4096.0), y=(5.5, 6.0, 7.1))
    return Chart(title="t", x_label="x", y_label="y", series=(series,), **options)


def test_logarithmic_axes_are_labelled_with_plain_numbers():
    figure = charts_figure([chart(log_x=True, log_y=True)])
    figure.canvas.draw()
    axes = figure.axes[0]
    assert axes.get_xscale() == axes.get_yscale() == "log"
    for axis in (axes.xaxis, axes.yaxis):
        labels = [label.get_text() for label in axis.get_ticklabels(which="both")]
        written = [label for label in labels if label]
        assert written
        assert all(float(label) > 0 for label in written)


def test_without_charts_there_is_nothing_to_draw(tmp_path):
    with pytest.raises(InputError, match="no picture"):
        save_charts((), tmp_path / "a.png")
