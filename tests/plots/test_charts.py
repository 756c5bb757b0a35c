import pytest

from thalweg.errors import InputError
from thalweg.plots.charts import charts_figure, save_charts
from thalweg.theory import Chart, Series


def chart(y, **options):
    series = (Series(label="a", x=(1.0, 10.0, 60.0), y=y), Series(label="b", x=(2.0,), y=(3.0,)))
    return Chart(title="t", x_label="x", y_label="y", series=series, **options)


def test_logarithmic_axes_are_labelled_with_plain_numbers():
    figure = charts_figure([chart((1e-6, 1.0, 100.0), log_x=True, log_y=True)])
    axes = figure.axes[0]
    figure.draw_without_rendering()
    for axis in (axes.xaxis, axes.yaxis):
        labels = [label.get_text().replace("−", "-") for label in axis.get_ticklabels()]
        shown = [(text, at) for text, at in zip(labels, axis.get_ticklocs(), strict=True) if text]
        assert len(shown) >= 2
        assert all(float(text) == pytest.approx(at) for text, at in shown)


def test_a_chart_shows_its_numbers_and_words():
    figure = charts_figure([chart((1.0, 2.0, 3.0)), chart((1.0, 2.0, 3.0))])
    assert len(figure.axes) == 2
    axes = figure.axes[0]
    assert (axes.get_title(), axes.get_xlabel(), axes.get_ylabel()) == ("t", "x", "y")
    assert axes.lines[0].get_xdata().tolist() == [1, 10, 60]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a", "b"]


def test_nothing_to_draw_and_other_formats_are_refused(tmp_path):
    with pytest.raises(InputError, match="has no picture"):
        charts_figure([])
    with pytest.raises(InputError, match=r"\.png, \.svg, \.pdf"):
        save_charts([chart((1.0, 2.0, 3.0))], tmp_path / "a.gif")
