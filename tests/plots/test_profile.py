"""The picture of a profile shows the numbers of the record, all of them, unchanged."""

from __future__ import annotations

import dataclasses
import errno
import math
import xml.etree.ElementTree as ET
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib.collections import LineCollection
from torch import nn

import thalweg
from thalweg.connect import Connection, Outcome, Profile, Segment
from thalweg.plots import compute_profile, profile_figure, save_profile
from thalweg.plots.files import render
from thalweg.plots.style import DARK, LIGHT


@pytest.fixture(scope="module")
def connection() -> Connection:
    """Two units in either order: the straight line between the two is worse than both."""
    x = torch.linspace(-1, 1, 64).reshape(-1, 1)
    model = nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 1))
    objective = thalweg.Objective(
        model, nn.functional.mse_loss, train=(x, x.sin()), test=(x + 0.01, x.cos()),
        training=thalweg.Training(learning_rate=1e-2),
    )  # fmt: skip
    starts = [torch.randn(objective.layout.size, generator=torch.Generator().manual_seed(s))
              for s in (0, 1)]  # fmt: skip
    a, b = thalweg.train(objective, starts, target=0.02)
    return thalweg.connect(objective, a.theta, b.theta, threshold=0.03, profile_points=17)


def changed(connection: Connection, **values: tuple[float | None, ...]) -> Connection:
    """The connection with other values of "loss/train" along the path, or along the line."""
    profile = connection.profile
    assert profile is not None
    for name, given in values.items():
        old = getattr(profile, name)
        profile = dataclasses.replace(profile, **{name: {**old, "loss/train": given}})
    return dataclasses.replace(connection, profile=profile)


def shown(connection: Connection) -> tuple[Profile, list]:
    assert connection.profile is not None
    return connection.profile, profile_figure(compute_profile(connection)).axes


def legend(axes) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_the_info_is_that_of_the_record(connection):
    info, profile = compute_profile(connection), connection.profile
    assert info.t == profile.t
    assert info.beads == profile.beads
    assert info.threshold == 0.03
    assert info.criterion.name == "loss on train"
    assert info.criterion.path == profile.values["loss/train"]
    assert info.criterion.straight == profile.linear["loss/train"]
    assert [c.name for c in info.losses] == ["loss on train", "loss on test"]
    assert [c.examples for c in info.losses] == [64, 64]


def test_the_bounds_cover_the_path_in_steps(connection):
    bounds = compute_profile(connection).bounds
    assert bounds[0].start == 0
    assert bounds[-1].end == pytest.approx(1)
    assert [b.bound for b in bounds] == [s.bound for s in connection.segments]
    for left, right, bead in zip(bounds, bounds[1:], connection.profile.beads[1:], strict=False):
        assert left.end == right.start == pytest.approx(bead)


def test_segments_without_a_bound_have_no_step(connection):
    spoiled = dataclasses.replace(connection.segments[0], bound=None)
    other = dataclasses.replace(connection, segments=(spoiled, *connection.segments[1:]))
    assert len(compute_profile(other).bounds) == len(connection.segments) - 1


def test_many_bounds_are_drawn_together_and_never_below_any(connection):
    one = connection.segments[0]
    many = tuple(dataclasses.replace(one, bound=0.01 + i * 1e-6) for i in range(5000))
    info = compute_profile(dataclasses.replace(connection, segments=many))
    (lines,) = profile_figure(info).axes[1].collections
    assert isinstance(lines, LineCollection)
    drawn = lines.get_segments()
    assert len(drawn) < 500
    for (start, y), (end, _) in drawn:
        inside = [s.bound for s in info.bounds if start <= s.start and s.end <= end]
        assert max(inside) == y


def test_the_lines_are_the_numbers(connection):
    profile, (whole, close, losses) = shown(connection)
    straight, path, level = whole.get_lines()[:3]
    np.testing.assert_array_equal(straight.get_ydata(), profile.linear["loss/train"])
    np.testing.assert_array_equal(path.get_xdata(), profile.t)
    np.testing.assert_array_equal(path.get_ydata(), profile.values["loss/train"])
    assert set(level.get_ydata()) == {0.03}
    np.testing.assert_array_equal(losses.get_lines()[2].get_ydata(), profile.values["loss/test"])
    beads = next(line for line in close.get_lines() if line.get_marker() == "o")
    np.testing.assert_array_equal(beads.get_xdata(), profile.beads)
    assert set(beads.get_ydata()) <= set(profile.values["loss/train"])
    assert "proved bounds" in legend(close)


def test_values_that_are_not_finite_are_gaps_and_counted(connection):
    values = list(connection.profile.values["loss/train"])
    values[3] = values[5] = None
    profile, (whole, _, losses) = shown(changed(connection, values=tuple(values)))
    drawn = whole.get_lines()[1].get_ydata()
    assert [i for i, y in enumerate(drawn) if math.isnan(y)] == [3, 5]
    assert len(drawn) == len(profile.t)
    for axes in (whole, losses):
        assert "gaps: 2 values that are not finite" in legend(axes)


def test_nothing_finite_at_all_is_still_a_picture(connection):
    nothing = (None,) * len(connection.profile.t)
    other = changed(connection, values=nothing, linear=nothing)
    render(profile_figure(compute_profile(other)), "png")


@pytest.mark.parametrize(("top", "scale"), [(0.1, "linear"), (50.0, "log")])
def test_the_scale_follows_the_range(connection, top, scale):
    n = len(connection.profile.t)
    other = changed(connection, values=(0.02,) * n, linear=(0.02, *(top,) * (n - 2), 0.02))
    _, (whole, close, _) = shown(other)
    assert whole.get_yscale() == scale
    assert ("log scale" in whole.get_ylabel()) == (scale == "log")
    assert close.get_yscale() == "linear"


def test_values_at_or_below_zero_keep_the_linear_scale(connection):
    n = len(connection.profile.t)
    _, (whole, *_) = shown(changed(connection, values=(0.0,) * n, linear=(50.0,) * n))
    assert whole.get_yscale() == "linear"


def test_a_path_of_length_0_is_a_picture(connection):
    point = Segment(0.0, 0.01, 0.01, "sampled", 2)
    other = dataclasses.replace(connection, segments=(point,), outcome=Outcome.IDENTICAL)
    assert compute_profile(other).bounds == ()
    render(profile_figure(compute_profile(other)), "png")


def test_a_path_that_is_not_finished_says_so(connection):
    _, (whole, *_) = shown(dataclasses.replace(connection, outcome=Outcome.BEAD_STALLED))
    assert "path as far as it came" in legend(whole)


def test_without_a_profile_there_is_a_sentence(connection):
    with pytest.raises(thalweg.InputError, match=r"connect again with --profile-points"):
        compute_profile(dataclasses.replace(connection, profile=None))


@pytest.mark.parametrize(
    ("suffix", "head"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")]
)
def test_it_is_saved_in_the_format_of_the_name_and_the_same_each_time(
    connection, tmp_path, suffix, head
):
    files = [tmp_path / f"{i}.{suffix}" for i in range(2)]
    for file in files:
        save_profile(connection, file)
    first, second = (file.read_bytes() for file in files)
    assert first.startswith(head)
    assert first == second


def test_other_formats_are_refused(connection, tmp_path):
    with pytest.raises(thalweg.InputError, match=r"\.png, \.svg, \.pdf"):
        save_profile(connection, tmp_path / "x.gif")


def test_a_full_disk_leaves_no_file(connection, tmp_path, monkeypatch):
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(thalweg.InputError, match="No space left"):
        save_profile(connection, tmp_path / "x.png")
    assert not list(tmp_path.iterdir())


def test_names_are_text_and_nothing_else(connection):
    info = compute_profile(connection)
    name = r"<script>$\frac{x}$</script> on train"
    other = dataclasses.replace(info, criterion=dataclasses.replace(info.criterion, name=name))
    drawn = render(profile_figure(other), "svg").decode()
    assert "<script" not in drawn
    texts = [text.text for text in ET.fromstring(drawn).iter("{http://www.w3.org/2000/svg}text")]
    assert name in texts


def test_drawing_leaves_the_settings_of_matplotlib_alone(connection):
    before = dict(mpl.rcParams)
    profile_figure(compute_profile(connection), DARK)
    assert dict(mpl.rcParams) == before


def test_colours_are_distinct():
    for palette in (LIGHT, DARK):
        colors = list(dict(palette.items()).values())
        assert len(set(colors)) == len(colors)
