"""Lines, planes, principal components and random directions against their definitions."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import nn

from tests.helpers import PROBLEMS, landscape, point, random_stack
from thalweg import Bezier, Criterion, InputError, Objective, Polygonal
from thalweg.geometry import (
    Frame,
    line_through,
    load_plane,
    pca,
    plane,
    plane_through,
    random_directions,
)

FLAT = landscape(lambda w: w.square().sum(), 4)


def test_three_models_lie_at_garipovs_coordinates():
    a, b, c = random_stack(FLAT, 3)
    frame = plane_through(FLAT, a, b, c)
    u, w = b - a, c - a
    along = (w @ u) / u.norm()
    expected = torch.tensor([[0, 0], [u.norm(), 0], [along, (w.norm() ** 2 - along**2).sqrt()]])
    found = frame.coordinates(torch.stack([a, b, c]))
    assert torch.allclose(found, expected.double(), atol=1e-12)
    assert frame.distances(torch.stack([a, b, c])).max() < 1e-12
    assert torch.allclose(frame.directions @ frame.directions.T, torch.eye(2).double())
    assert torch.allclose(frame.at(found), torch.stack([a, b, c]), atol=1e-12)


def test_coordinates_are_those_of_the_nearest_point_also_along_skew_directions():
    origin, one, two, outside = random_stack(FLAT, 4)
    frame = Frame(origin, torch.stack([one, one + 0.1 * two]), ("x", "y"))
    (x,) = frame.coordinates(outside[None])
    exact = torch.linalg.lstsq(frame.directions.T, (outside - origin)[:, None]).solution[:, 0]
    assert torch.allclose(x, exact)
    assert frame.distances(outside[None])[0] == pytest.approx(
        float((outside - frame.at(x[None])[0]).norm())
    )


def test_a_line_has_its_ends_at_zero_and_their_distance():
    a, b = random_stack(FLAT, 2)
    frame = line_through(FLAT, a, b)
    found = frame.coordinates(torch.stack([a, b])).flatten().tolist()
    assert found == pytest.approx([0, float((b - a).norm())])


@pytest.mark.parametrize("third", [0.5, 1.0, -2.0])
def test_models_on_one_line_give_no_plane(third):
    a, b = random_stack(FLAT, 2)
    with pytest.raises(InputError, match="one line"):
        plane_through(FLAT, a, b, a + third * (b - a))
    with pytest.raises(InputError, match="different models"):
        line_through(FLAT, a, a)


@pytest.mark.parametrize("shape", [(2, 5), (6, 50), (40, 3)])
def test_principal_components_are_those_of_the_singular_value_decomposition(shape):
    points = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = pca(points)
    centred = points - points.mean(0)
    u, s, v = torch.linalg.svd(centred, full_matrices=False)
    k = len(found.variances)
    assert k == min(3, shape[0] - 1, shape[1])
    assert torch.allclose((found.directions @ v[:k].T).abs(), torch.eye(k).double(), atol=1e-9)
    assert found.variances == pytest.approx((s**2 / shape[0])[:k].tolist())
    assert found.explained == pytest.approx((s**2 / (s**2).sum())[:k].tolist())
    coordinates = found.coordinates(points)
    assert torch.allclose(coordinates.abs(), (u * s)[:, :k].abs(), atol=1e-9)
    assert (coordinates[-1] >= coordinates[0]).all()


def test_blocks_of_columns_give_the_same_components(monkeypatch):
    points = random_stack(PROBLEMS["mlp"].build(), 5)
    whole = pca(points)
    monkeypatch.setattr(sys.modules[pca.__module__], "_BLOCK", 8 * 5 * 7)
    parts = pca(points)
    assert torch.allclose(whole.directions, parts.directions, atol=1e-12)
    assert torch.allclose(whole.coordinates(points), parts.coordinates(points), atol=1e-12)


def test_points_that_do_not_spread_have_no_components():
    with pytest.raises(InputError, match="points that differ"):
        pca(torch.ones(3, 4))
    with pytest.raises(InputError, match="at least two points"):
        pca(torch.ones(1, 4))
    line = torch.tensor([[0.0, 0.0], [1.0, 1.0], [3.0, 3.0]])
    with pytest.raises(InputError, match="spread in 2 directions, got 1"):
        pca(line).frame()


@pytest.mark.parametrize("name", ["mlp", "cnn", "batchnorm"])
def test_filters_of_a_direction_are_as_long_as_the_models_and_vectors_do_not_move(name):
    objective = PROBLEMS[name].build()
    theta = random_stack(objective, 1)[0]
    frame = random_directions(objective, theta, 2, seed=3)
    own = objective.layout.unflatten(theta)
    for row in frame.directions:
        for key, tensor in objective.layout.unflatten(row).items():
            if tensor.ndim < 2:
                assert not tensor.any()
                continue
            expected = own[key].flatten(1).norm(dim=1)
            assert torch.allclose(tensor.flatten(1).norm(dim=1), expected)
    layers = random_directions(objective, theta, 1, seed=3, normalization="layer").directions[0]
    for key, tensor in objective.layout.unflatten(layers).items():
        if tensor.ndim >= 2:
            assert float(tensor.norm()) == pytest.approx(float(own[key].norm()))
    plain = random_directions(objective, theta, 1, seed=3, normalization="none").directions[0]
    assert torch.cosine_similarity(plain, layers, dim=0) > 0.5
    assert plain.abs().min() > 0


def test_a_seed_fixes_directions_and_another_gives_others():
    objective = PROBLEMS["mlp"].build()
    theta = random_stack(objective, 1)[0]
    first, again, other = (
        random_directions(objective, theta, seed=s).directions for s in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert abs(float(torch.cosine_similarity(first[0], first[1], dim=0))) < 0.5


def test_the_surface_over_normalized_directions_does_not_see_the_scale_of_relu_layers():
    """Li et al. 2018, Section 4: the same function at another scale gives the same picture."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 6, bias=False), nn.ReLU(), nn.Linear(6, 2, bias=False))
    data = torch.randn(20, 3), torch.randn(20, 2)
    objective = Objective(
        model.double(), nn.functional.mse_loss, train=tuple(d.double() for d in data)
    )
    theta = objective.theta(model)
    scaled = torch.cat([theta[:18] * 8, theta[18:] / 8])
    grids = {}
    for kind in ("filter", "none"):
        grids[kind] = [
            plane(objective, random_directions(objective, at, normalization=kind), 0.5, 5)
            .surface.values for at in (theta, scaled)
        ]  # fmt: skip
    assert torch.allclose(grids["filter"][0], grids["filter"][1])
    assert not torch.allclose(grids["none"][0], grids["none"][1])


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"normalization": "batch"}, "filter, layer, none"),
        ({"count": 0}, "at least one"),
    ],
)
def test_directions_that_make_no_sense_are_refused(options, sentence):
    with pytest.raises(InputError, match=sentence):
        random_directions(PROBLEMS["mlp"].build(), PROBLEMS["mlp"].module(), **options)


def test_a_model_of_vectors_only_has_no_filters():
    with pytest.raises(InputError, match="normalization none"):
        random_directions(FLAT, point(1.0, 1.0, 1.0, 1.0))


# ------------------------------------------------------------- what lies on a plane


def test_a_plane_holds_its_models_and_paths_and_comes_back_from_its_file(tmp_path):
    a, b, c = random_stack(FLAT, 3)
    frame = plane_through(FLAT, a, b, c)
    bezier = Bezier(torch.stack([a, c, b]), FLAT.layout)
    string = Polygonal(torch.stack([a, c, b]), FLAT.layout)
    found = plane(
        FLAT, frame, shape=(7, 4), models={"A": a, "<b>": b}, paths={"string": string, "c": bezier},
        threshold=0.3, measures=[Criterion(), Criterion("perplexity")],
    )  # fmt: skip
    for axis, column in zip(found.surface.axes, frame.coordinates(torch.stack([a, b, c])).T,
                            strict=True):  # fmt: skip
        assert axis[0] < column.min()
        assert axis[-1] > column.max()
    assert torch.allclose(found.lines[0].positions, frame.coordinates(string.points))
    assert [line.beads for line in found.lines] == [True, False]
    assert len(found.lines[1].positions) == 101
    found.save(tmp_path / "plane.safetensors")
    back = load_plane(tmp_path / "plane.safetensors")
    for name in ("names", "criterion", "threshold", "marks"):
        assert getattr(back, name) == getattr(found, name)
    assert torch.equal(back.surface.measures["perplexity"], found.surface.measures["perplexity"])
    assert all(map(torch.equal, back.surface.axes, found.surface.axes))
    assert torch.equal(back.lines[1].positions, found.lines[1].positions)


def test_values_at_a_plane_are_those_of_its_models():
    a, b, c = random_stack(FLAT, 3)
    frame = plane_through(FLAT, a, b, c)
    end = float(frame.coordinates(b[None])[0, 0])
    found = plane(FLAT, frame, ((0, end), (0, 1)), 2)
    corners = FLAT.criterion_of(torch.stack([a, b])).values[:, 0]
    assert torch.allclose(found.surface.values[:, 0], corners)


def test_an_unfinished_surface_is_no_plane(tmp_path):
    file = tmp_path / "values.safetensors"
    plane(
        FLAT, random_directions(FLAT, point(1, 1, 1, 1), normalization="none"), shape=3, resume=file
    )
    with pytest.raises(InputError, match="finished surface"):
        load_plane(file)
