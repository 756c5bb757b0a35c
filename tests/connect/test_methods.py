"""Problems times methods: landscapes whose barriers are known, small networks of every kind."""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from importlib.metadata import EntryPoint

import pytest
import torch

from tests.helpers import PROBLEMS, double_well, landscape, point, random_stack, ring
from thalweg import (
    AutoNEB,
    Bezier,
    BezierCurve,
    BreadthFirst,
    Budget,
    Constrained,
    InputError,
    Outcome,
    PolygonalChain,
    Training,
    connect,
    connect_pairs,
    load_connection,
    profile,
    train,
    verify,
)
from thalweg.connect import METHODS, Method, make_method, method_names, methods, register_method

NAMES = ["greedy", "constrained", "breadth-first", "autoneb", "bezier", "polygonal", "linear"]
SEARCHING = NAMES[:-1]
# Fewer steps and shorter cycles than by default: these problems are small.
BUDGET = Budget(steps=2000, patience=500, beads=60)


def test_the_methods_that_come_with_the_package():
    assert set(NAMES) <= set(method_names())
    for name in NAMES:
        assert make_method(name).name == name


def quick(name: str) -> str | Method:
    return AutoNEB(cycles=((1, 50, 1.0),)) if name == "autoneb" else name


def run(objective, a, b, threshold, method, **options):
    return connect(
        objective, a, b, threshold=threshold, method=quick(method), budget=BUDGET,
        **options,
    )  # fmt: skip


# ------------------------------------------------------------------------------- landscapes


def highest(connection, objective, points=2001):
    t = torch.linspace(0, 1, points, dtype=torch.float64)
    return float(objective.double().criterion_of(connection.path.at(t)).values.max())


@pytest.mark.parametrize("name", NAMES)
def test_a_straight_segment_below_the_threshold_needs_no_search(name):
    connection = run(landscape(ring, 2), point(1.0, 0.0), point(0.0, 1.0), 0.6, name)
    assert connection.outcome is Outcome.CONNECTED
    assert (connection.beads, connection.counts.gradient_samples) == (0, 0)
    assert connection.normalized_length == 1.0
    assert connection.max_criterion_bound == pytest.approx(0.25, abs=0.01)  # (1/2 - 1)²


@pytest.mark.parametrize("threshold", [0.9, 0.99])
@pytest.mark.parametrize("name", NAMES)
def test_no_method_claims_a_path_below_a_barrier(name, threshold):
    """On a line every path between the minima passes the top, where the field is 1."""
    connection = run(landscape(double_well), point(-1.0), point(1.05), threshold, name)
    assert not connection.connected
    assert connection.max_criterion_bound is None or connection.max_criterion_bound > threshold
    assert connection.message


@pytest.mark.parametrize("threshold", [1.01, 1.2])
@pytest.mark.parametrize("name", NAMES)
def test_every_method_passes_above_the_barrier(name, threshold):
    connection = run(landscape(double_well), point(-1.0), point(1.05), threshold, name)
    assert connection.outcome is Outcome.CONNECTED
    assert 1.0 <= (connection.max_criterion_bound or math.inf) <= threshold


@pytest.mark.parametrize("name", SEARCHING)
def test_every_search_goes_around_the_ring(name):
    """The centre rises to 1, the circle is at 0: half of it is π/2 times as long as its chord."""
    objective = landscape(ring, 2, learning_rate=0.02)
    a, b = point(1.0, 0.0), point(-math.cos(0.2), -math.sin(0.2))
    connection = run(objective, a, b, 0.4, name)
    assert connection.outcome is Outcome.CONNECTED, connection.message
    assert connection.certificate == "proved"
    assert highest(connection, objective) <= 0.4
    assert connection.max_criterion_seen <= (connection.max_criterion_bound or math.inf) <= 0.4
    assert 1 < (connection.normalized_length or 0) < math.pi / 2 * 1.3
    assert torch.equal(connection.path.points[[0, -1]], torch.stack([a, b]))
    assert connection.counts.gradient_samples > 0
    assert connection.counts.criterion_samples > 0


@pytest.mark.parametrize("name", SEARCHING)
def test_a_landscape_that_is_nan_in_the_middle_ends_as_diverged(name):
    def field(w):
        return torch.where(w.square().sum() < 0.3, w[0] * math.nan, ring(w))

    connection = run(landscape(field, 2), point(1.0, 0.0), point(-1.0, -0.01), 0.2, name)
    assert connection.outcome is Outcome.DIVERGED, connection.message


@pytest.mark.parametrize("name", NAMES)
def test_many_pairs_are_searched_at_once(name):
    objective = landscape(ring, 2, learning_rate=0.02)
    pairs = [(point(1.0, 0.0), point(math.cos(x), math.sin(x))) for x in (0.3, 2.0, 2.9)]
    found = connect_pairs(objective, pairs, threshold=0.45, method=quick(name), budget=BUDGET)
    assert [c.connected for c in found] == [True, name != "linear", name != "linear"]
    for (a, b), connection in zip(pairs, found, strict=True):
        assert torch.equal(connection.path.points[[0, -1]], torch.stack([a, b]))


LEVELS = {"mlp": 1.05, "batchnorm": 1.12, "dropout": 1.06}


@functools.cache
def trained(kind):
    """A small network of helpers, and two trained models on either side of a barrier."""
    objective = PROBLEMS[kind].build(torch.float32, training=Training(learning_rate=0.02))
    starts = list((8 if kind == "dropout" else 3) * random_stack(objective, 2, 1))
    return objective, [model.theta for model in train(objective, starts, LEVELS[kind] - 0.04)]


@pytest.mark.parametrize("name", ["constrained", "breadth-first", "autoneb", "bezier"])
def test_the_same_seed_gives_the_same_path(name):
    objective, ends = trained("dropout")
    budget = Budget(steps=40, patience=40, beads=4)

    def search():
        rng = torch.get_rng_state()
        found = connect(objective, *ends, threshold=LEVELS["dropout"], method=name, seed=3,
                        budget=budget, certificate="sampled")  # fmt: skip
        assert torch.equal(torch.get_rng_state(), rng)
        return found

    first, second = search(), search()
    assert first.counts.gradient_samples > 0
    assert torch.equal(first.path.points, second.path.points)
    assert (first.outcome, first.counts) == (second.outcome, second.counts)


# -------------------------------------------------------------------------- networks


@pytest.mark.parametrize("kind", ["mlp", "batchnorm"])
@pytest.mark.parametrize("name", SEARCHING)
def test_small_networks_are_connected_and_verified(name, kind, tmp_path):
    objective, (a, b) = trained(kind)
    connection = run(objective, a, b, LEVELS[kind], name)
    assert connection.outcome is Outcome.CONNECTED, connection.message
    assert connection.certificate == ("sampled" if kind == "batchnorm" else "proved")
    connection.save(tmp_path / "c")
    loaded = load_connection(tmp_path / "c")
    assert verify(loaded, objective).passed
    shown = profile(objective, loaded.path, 9)
    assert shown.t[0] == 0
    assert shown.t[-1] == 1
    assert list(shown.t) == sorted(shown.t)
    assert max(v for v in shown.values["loss/train"] if v is not None) <= LEVELS[kind]


def test_a_curve_whose_record_was_touched_is_not_verified():
    objective = landscape(ring, 2, learning_rate=0.02)
    connection = run(objective, point(1.0, 0.0), point(-1.0, -0.1), 0.4, "bezier")
    assert verify(connection, objective).passed
    control = connection.path.points.clone()
    control[1] = control[[0, -1]].mean(0)  # straight through the middle
    moved = Bezier(control, connection.path.layout)
    found = verify(replace(connection, path=moved), objective)
    assert not found.passed
    assert any("above the threshold" in problem for problem in found.problems)


# --------------------------------------------------------------------------- one by one


def test_breadth_first_sees_a_barrier_long_before_the_threshold():
    """The ends lie at 0.01; the barrier of 1 shows at a level near it, without training to 0.01."""
    connection = run(landscape(double_well), point(-1.0), point(1.05), 0.02, "breadth-first")
    assert connection.outcome is Outcome.BARRIER_PERSISTS
    assert "not a proof" in connection.message
    level = float(connection.message.split("at or below ")[1].split()[0])
    assert 0.02 < level < 1


@pytest.mark.parametrize("bends", [1, 2, 3])
@pytest.mark.parametrize("curve", [BezierCurve, PolygonalChain])
def test_the_points_of_a_curve_are_weighted_sums_that_begin_and_end_at_the_endpoints(curve, bends):
    t = torch.linspace(0, 1, 9, dtype=torch.float64)
    weights = curve(bends=bends).weights(t)
    assert weights.shape == (9, bends + 2)
    assert torch.allclose(weights.sum(1), torch.ones(9).double())
    assert weights.min() >= 0
    assert weights[0].tolist() == [1.0] + [0.0] * (bends + 1)
    assert weights[-1].tolist() == [0.0] * (bends + 1) + [1.0]


def test_a_curve_is_trained_on_the_mean_over_uniform_t():
    """On a parabolic valley the optimum of E[(φ(t) - 1)²] has a closed form."""

    def field(w):
        between = (w[1] != 0) & (w[1] != 1)  # far above the threshold, that it may not stop
        return (w[0] - 1) ** 2 + 9 * between

    budget = Budget(steps=1500, patience=1500)
    connection = connect(
        landscape(field, 2, learning_rate=0.01), point(0.0, 0.0), point(0.0, 1.0), threshold=2.0,
        method=BezierCurve(samples=8), budget=budget, certificate="sampled",
    )  # fmt: skip
    w = float(connection.path.points[1, 0])
    # d/dw E[(2 t (1 - t) w - 1)²] = 0:  w = E[2 t (1 - t)] / E[4 t² (1 - t)²] = (1/3) / (2/15)
    assert w == pytest.approx(2.5, abs=0.05)


@pytest.mark.parametrize(("method", "words"), [
    (lambda: BezierCurve(bends=0), "bends"), (lambda: PolygonalChain(samples=0), "samples"),
    (lambda: AutoNEB(images=0), "image"), (lambda: AutoNEB(cycles=()), "cycles"),
    (lambda: Constrained(zeta=-1.0), "zeta"), (lambda: Constrained(kappa=math.inf), "kappa"),
    (lambda: Constrained(alpha=2.0), "alpha"), (lambda: BreadthFirst(decay=1.0), "decay"),
])  # fmt: skip
def test_options_out_of_range_are_refused(method, words):
    with pytest.raises(InputError, match=words):
        method()


# ---------------------------------------------------------------------------- registration


class Mine:
    name = "mine"

    def settings(self):
        return {}

    def init(self, search):
        return None

    def step(self, search, state):
        for string in search.open:
            search.end(string, Outcome.ABOVE_THRESHOLD, "mine does nothing")


@pytest.fixture
def registry(monkeypatch):
    monkeypatch.setattr(methods, "METHODS", dict(METHODS))


@pytest.mark.usefixtures("registry")
def test_a_method_of_ones_own_is_found_once_registered():
    register_method(Mine)
    assert "mine" in method_names()
    found = connect(landscape(ring, 2), point(1.0, 0.0), point(-1.0, 0.0), threshold=0.5,
                    method="mine")  # fmt: skip
    assert (found.method, found.message) == ("mine", "mine does nothing")


@pytest.mark.usefixtures("registry")
def test_a_name_is_not_taken_twice():
    with pytest.raises(InputError, match="greedy"):
        register_method(Mine, name="greedy")
    with pytest.raises(InputError, match="name"):
        register_method(lambda: Mine())


def test_a_method_of_an_installed_distribution_is_found_by_its_entry_point(monkeypatch):
    point_of_entry = EntryPoint("theirs", "tests.connect.test_methods:Mine", "thalweg.methods")

    def entry_points(*, group, name="theirs"):
        return [point_of_entry] if (group, name) == ("thalweg.methods", "theirs") else []

    monkeypatch.setattr(methods, "entry_points", entry_points)
    assert "theirs" in method_names()
    assert make_method("theirs").name == "mine"


def test_an_unknown_method_or_option_is_refused():
    with pytest.raises(InputError, match=r"teleport.*|among greedy"):
        make_method("teleport")
    with pytest.raises(InputError, match="t_star"):
        make_method("linear", t_star="half")
