"""Surfaces against closed forms and against every point alone."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError

import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.helpers import PROBLEMS, brute_force, landscape, point, random_stack
from thalweg import Criterion, InputError, Objective, save_checkpoint, surface


def test_a_plane_that_is_not_square_has_each_value_at_its_axes():
    objective = landscape(lambda w: w[0] ** 2 + 10 * w[1], 2)
    found = surface(
        objective, point(1.0, 0.5), [point(2.0, 0.0), point(0.0, 4.0)], ((-1, 2), (0, 1)), (4, 3)
    )
    assert found.values.shape == (4, 3)
    assert [axis.tolist() for axis in found.axes] == [[-1, 0, 1, 2], [0, 0.5, 1]]
    for i, a in enumerate(found.axes[0].tolist()):
        for j, b in enumerate(found.axes[1].tolist()):
            expected = (1 + 2 * a) ** 2 + 10 * (0.5 + 4 * b)
            assert float(found.values[i, j]) == pytest.approx(expected, rel=1e-12)
    assert found.norms == (2.0, 4.0)
    assert (found.split, found.examples) == ("train", 1)


@pytest.mark.parametrize("direction", [point(0.0, 3.0), [point(0.0, 3.0)], point(0.0, 3.0)[None]])
def test_a_line_has_one_axis(direction):
    found = surface(landscape(lambda w: w[1] ** 2, 2), point(0.0, 0.0), direction, 0.5, 5)
    assert len(found.axes) == 1
    assert found.values.tolist() == pytest.approx([2.25, 0.5625, 0, 0.5625, 2.25])


@pytest.mark.parametrize("name", ["mlp", "cnn", "batchnorm", "lstm"])
def test_a_grid_holds_what_every_point_has_alone(name):
    objective = PROBLEMS[name].build()
    origin, first, second = random_stack(objective, 3)
    measures = [Criterion("loss"), Criterion("perplexity")]
    found = surface(objective, origin, [first, second], 0.7, (4, 5), measures=measures)
    grid = torch.cartesian_prod(*found.axes)
    points = origin + grid @ torch.stack([first, second])
    expected = objective.evaluate(points, "train", tuple(measures)).values
    for measure, column in zip(measures, expected.T, strict=True):
        taken = found.measures[measure.name]
        assert torch.allclose(taken, column.reshape(4, 5), rtol=1e-11)
    assert torch.equal(found.values, found.measures["loss"])


def test_float32_values_are_those_of_float64_to_a_millionth():
    objective = PROBLEMS["mlp"].build(torch.float32)
    origin, first, second = random_stack(objective, 3)
    found = surface(objective, origin, torch.stack([first, second]), 1.0, 6)
    twin = objective.double()
    points = origin.double() + torch.cartesian_prod(*found.axes) @ torch.stack(
        [first.double(), second.double()]
    )
    expected = [brute_force(twin, theta, Criterion()) for theta in points]
    assert found.values.flatten().tolist() == pytest.approx(expected, rel=1e-6)


def test_values_that_are_not_finite_stay_and_are_flagged():
    def field(w):
        return torch.log(w[0]) / (w[1] - 1)

    found = surface(
        landscape(field, 2), point(0.0, 0.0), torch.eye(2).double(), ((-1, 1), (0, 1)), 3
    )
    assert math.isnan(found.values[0, 0])
    assert math.isinf(found.values[1, 0])
    assert found.finite.tolist() == [[False, False, False], [False] * 3, [True, True, False]]


def test_directions_come_in_every_form_and_the_data_of_another_split_can_be_taken(tmp_path):
    objective = PROBLEMS["mlp"].build(test=PROBLEMS["mlp"].data())
    model = PROBLEMS["mlp"].module()
    vector = objective.theta(model)
    save_checkpoint(tmp_path / "model.safetensors", model.state_dict())
    grids = [
        surface(objective, source, [model, model.state_dict()], (0, 1), 3, split="test").values
        for source in (model, vector, model.state_dict(), tmp_path / "model.safetensors")
    ]
    assert all(torch.equal(grids[0], other) for other in grids[1:])
    before = {n: t.clone() for n, t in model.state_dict().items()}
    surface(objective, model, model, 1.0, 9)
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())


def test_progress_counts_all_points():
    seen = []
    surface(
        landscape(lambda w: w[0], 2), point(0.0, 0.0), torch.eye(2).double(), 1.0, 20,
        progress=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    assert seen[-1] == (400, 400)
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})


def test_a_surface_is_frozen():
    found = surface(landscape(lambda w: w[0], 1), point(0.0), point(1.0), 1.0, 2)
    with pytest.raises(FrozenInstanceError):
        found.split = "test"  # type: ignore[misc]
    with pytest.raises(TypeError):
        found.measures["loss"] = found.values  # type: ignore[index]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"directions": torch.eye(3).double()}, "one direction or two, got 3"),
        ({"directions": [point(0.0, 0.0, 0.0)]}, "all zeros"),
        ({"directions": point(1.0)}, "direction 1"),
        ({"extent": (1, 0)}, "low < high"),
        ({"extent": (1, 2, 3)}, "extent"),
        ({"extent": ((0, 1), (0, 1), (0, 1))}, "extent"),
        ({"extent": ((0, 1), 2)}, "extent"),
        ({"extent": math.inf}, "finite extent"),
        ({"shape": 1}, "at least 2"),
        ({"shape": (3, 4, 5)}, "shape of 2"),
        ({"split": "test"}, "split among train"),
        ({"measures": ()}, "measures"),
        ({"measures": (Criterion(), Criterion())}, "names of their own"),
    ],
)
def test_input_that_makes_no_sense_is_refused(options, sentence):
    given = {"directions": torch.eye(3)[:2].double(), "extent": 1.0, "shape": 3, **options}
    objective = landscape(lambda w: w.sum(), 3)
    with pytest.raises(InputError, match=sentence):
        surface(objective, point(0.0, 0.0, 0.0), **given)


def test_a_network_of_one_layer_has_a_surface_in_closed_form():
    x, y = torch.eye(2), torch.zeros(2, 1)
    model = nn.Linear(2, 1, bias=False)
    objective = Objective(model, functional.mse_loss, train=(x, y))
    found = surface(objective, torch.zeros(2), torch.eye(2), 1.0, (3, 2))
    a, b = torch.meshgrid(*found.axes, indexing="ij")
    assert torch.allclose(found.values, (a**2 + b**2) / 2)
