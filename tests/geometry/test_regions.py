"""Basins, valleys and plateaus whose sizes are known in closed form."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from tests.geometry.landscapes import rastrigin
from tests.helpers import landscape, point, ring
from thalweg import Criterion, InputError, Objective, Polygonal
from thalweg.geometry import Curvature, Normalization, basin, density, plateaus, valley


def bowl(*stiffness: float):
    """F = Σ aᵢ wᵢ²."""
    return landscape(lambda w: (torch.tensor(stiffness).to(w) * w.square()).sum(), len(stiffness))


# ------------------------------------------------------------------------------------ basins


def test_radii_of_a_bowl_are_those_of_its_ellipsoid():
    stiffness = (1.0, 4.0, 25.0)
    objective = bowl(*stiffness)
    found = basin(objective, point(0, 0, 0), 0.5, directions=20, reach=2.0, seed=3)
    generator = torch.Generator().manual_seed(3)
    rows = torch.stack(
        [torch.randn(3, generator=generator, dtype=torch.float64) for _ in range(20)]
    )
    rows = rows / rows.norm(dim=1, keepdim=True)
    exact = (0.5 / (rows.square() * torch.tensor(stiffness)).sum(1)).sqrt()
    torch.testing.assert_close(found.radii, exact[:, None].expand(-1, 2), rtol=2e-4, atol=0)
    assert (found.radii <= exact[:, None]).all()  # at or below the level is what they promise
    assert found.asymmetry == pytest.approx(1, abs=2e-4)


def test_the_volume_of_a_ball_is_exact_and_of_an_ellipsoid_a_lower_bound():
    ball = basin(bowl(1, 1, 1, 1), torch.zeros(4).double(), 4.0, directions=10, reach=5.0)
    value, error = ball.log_volume
    assert value == pytest.approx(math.log(math.pi**2 / 2 * 2**4), abs=1e-3)
    assert error < 1e-3
    flat = basin(bowl(1, 100), point(0, 0), 1.0, directions=400, reach=2.0)
    value, error = flat.log_volume
    # In the plane E[log r] of an ellipse with half-axes 1 and b is log of 2b/(1 + b).
    assert value == pytest.approx(math.log(math.pi) + 2 * math.log(0.2 / 1.1), abs=4 * error)
    assert value < math.log(math.pi * 0.1)


def test_a_lopsided_well_is_lopsided():
    def steep(w):
        return torch.where(w[0] > 0, w[0], -w[0] / 8) + 0 * w[1]

    objective = landscape(steep, 2)
    found = basin(objective, point(0, 0), 0.5, directions=9, reach=1e3)
    assert found.asymmetry == pytest.approx(8, rel=1e-3)


def test_a_basin_ends_at_its_first_wall_not_in_the_next_one():
    found = basin(landscape(rastrigin, 2), point(0, 0), 5.0, directions=30, reach=20.0)
    assert float(found.radii.max()) < 0.5


def test_beyond_the_reach_a_radius_is_infinite():
    found = basin(bowl(1, 0), point(0, 0), 1.0, directions=5, reach=0.5)
    assert torch.isinf(found.radii).all()
    assert math.isinf(found.radius)
    assert math.isnan(found.asymmetry)
    assert math.isfinite(found.log_volume[0])


def test_a_radius_below_the_first_distance_is_found():
    found = basin(bowl(1e12, 1e12), point(0, 0), 1e-2, directions=3, reach=1e3)
    torch.testing.assert_close(found.radii, torch.full((3, 2), 1e-7).double(), rtol=1e-3, atol=0)


def test_an_undefined_criterion_is_a_wall():
    objective = landscape(lambda w: torch.where(w[0].abs() < 1, w[1] * 0, w[0] * math.nan), 2)
    found = basin(objective, point(0, 0), 1.0, directions=4, reach=100.0)
    assert torch.isfinite(found.radii).all()


def _classifier() -> tuple[Objective, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40, 3, generator=generator, dtype=torch.float64)
    labels = (x[:, 0] > 0).long()
    model = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2)).double()
    objective = Objective(
        model, nn.functional.cross_entropy, train=(x, labels),
        criterion=Criterion("error_rate"),
    )  # fmt: skip
    return objective, torch.randn(objective.layout.size, generator=generator).double()


def test_filter_normalized_radii_do_not_change_when_relu_units_are_rescaled():
    objective, theta = _classifier()
    # Filter normalization moves no biases: where there are some, scaling is no symmetry of it.
    theta[15:20] = 0
    scaled = theta.clone()
    scaled[:15] *= 10
    scaled[20:30] /= 10
    scaled[30:] = theta[30:]
    level = objective.criterion_of(theta[None]).values.item() + 0.1

    def radii(model: torch.Tensor, normalization: Normalization) -> torch.Tensor:
        found = basin(
            objective, model, level, normalization=normalization, directions=6, reach=30.0
        )
        return found.radii

    torch.testing.assert_close(radii(theta, "filter"), radii(scaled, "filter"), rtol=1e-3, atol=0)
    assert not torch.allclose(radii(theta, "none"), radii(scaled, "none"), rtol=1e-3)


def test_volumes_of_normalized_directions_are_refused():
    objective, theta = _classifier()
    found = basin(objective, theta, 1.0, directions=2, normalization="filter")
    with pytest.raises(InputError, match="isotropic"):
        _ = found.log_volume


def test_a_model_above_the_level_is_refused():
    with pytest.raises(InputError, match=r"level of 0\.5"):
        basin(bowl(1, 1), point(1, 0), 0.5)


@pytest.mark.parametrize("reach", [0.0, -1.0, math.inf, math.nan])
def test_a_reach_that_makes_no_sense_is_refused(reach):
    with pytest.raises(InputError, match="finite distance"):
        basin(bowl(1, 1), point(0, 0), 0.5, reach=reach)


# ----------------------------------------------------------------------------------- valleys


def _straight(objective: Objective, *ends: torch.Tensor) -> Polygonal:
    return Polygonal(torch.stack(ends), objective.layout)


def test_a_channel_is_as_wide_as_its_walls_say():
    # Along w0 nothing changes; across, walls at 1/10 and 1/2.
    objective = bowl(0.0, 100.0, 4.0)
    path = _straight(objective, point(0, 0, 0), point(3, 0, 0))
    found = valley(objective, path, 1.0, t=[0.25, 0.5], directions=40, reach=4.0)
    assert found.narrow_width == pytest.approx(0.2, rel=1e-3)
    assert found.aspect == pytest.approx(15, rel=1e-3)
    assert 0.2 < found.width < 1
    for section in found.sections:
        assert section.value == 0
        assert ((section.radii > 0.0999) & (section.radii < 0.5)).all()


def test_a_sharp_direction_along_the_path_is_not_a_wall():
    # The path runs up the steep side: across it the valley is two wide.
    objective = bowl(50.0, 1.0)
    path = _straight(objective, point(-0.05, 0), point(0.05, 0))
    found = valley(objective, path, 1.0, t=[0.5], directions=3, reach=4.0)
    assert found.narrow_width == pytest.approx(2.0, rel=1e-3)
    assert found.width == pytest.approx(2.0, rel=1e-3)


def test_a_circular_valley_has_one_width_all_round():
    objective = landscape(ring, 2)
    angle = torch.linspace(0, math.pi, 60, dtype=torch.float64)
    path = Polygonal(torch.stack([angle.cos(), angle.sin()], dim=1), objective.layout)
    found = valley(objective, path, 0.25, t=[0.1, 0.5, 0.77], directions=2, reach=2.0)
    # (r² − 1)² = 1/4 at r = √1.5 and √.5.
    for section in found.sections:
        assert section.narrow_width == pytest.approx(math.sqrt(1.5) - math.sqrt(0.5), rel=2e-3)


def test_beads_are_looked_at_by_default():
    objective = bowl(0.0, 1.0)
    path = _straight(objective, point(0, 0), point(1, 0), point(4, 0))
    seen = []
    found = valley(objective, path, 1.0, reach=3.0, progress=lambda *n: seen.append(n))
    assert [section.t for section in found.sections] == [0.0, 0.25, 1.0]
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert found.document()["sections"][1]["narrow_width"] == pytest.approx(2.0, rel=1e-3)


def test_walls_beyond_the_reach_are_null_in_the_document():
    objective = bowl(0.0, 1e-6)
    found = valley(objective, _straight(objective, point(0, 0), point(1, 0)), 1.0, reach=3.0)
    assert found.document()["width"] is None
    assert found.aspect == 0


def test_a_path_at_the_level_itself_has_no_width():
    objective = bowl(0.0, 1.0)
    found = valley(objective, _straight(objective, point(0, 0), point(1, 0)), 0.0, reach=3.0)
    assert found.narrow_width == 0
    assert math.isinf(found.aspect)
    assert found.document()["aspect"] is None


def test_a_hairpin_has_a_direction():
    objective = bowl(0.0, 1.0)
    path = _straight(objective, point(0, 0), point(1, 0), point(0, 0))
    found = valley(objective, path, 1.0, t=[0.5], reach=3.0)
    assert found.narrow_width == pytest.approx(2.0, rel=1e-3)


@pytest.mark.parametrize("options", [{"reach": 0.0}, {"t": []}, {"directions": 0}])
def test_nothing_to_look_at_is_refused(options):
    objective = bowl(0.0, 1.0)
    with pytest.raises(InputError, match="expected"):
        valley(objective, _straight(objective, point(0, 0), point(1, 0)), 1.0, **options)


def test_a_path_above_the_level_is_refused():
    objective = bowl(1.0, 1.0)
    with pytest.raises(InputError, match=r"got 1 at t = 1 with a level of 0\.5"):
        valley(objective, _straight(objective, point(0, 0), point(1, 0)), 0.5, reach=1.0)


def test_a_path_without_sides_is_refused():
    objective = bowl(1.0)
    with pytest.raises(InputError, match="two sides"):
        valley(objective, _straight(objective, point(0), point(0.1)), 0.5)


# ---------------------------------------------------------------------------------- plateaus


def _staircase() -> list[float]:
    """Falls from 1 to .5, stays for 40 steps, falls to .1, stays to the end."""
    fall = [1 - 0.05 * i for i in range(11)]
    second = [0.5 - 0.04 * i for i in range(1, 11)]
    return [*fall, *[0.5] * 40, *second, *[0.1] * 40]


def test_the_step_of_a_staircase_is_a_plateau_and_its_floor_is_none():
    (found,) = plateaus(_staircase())
    assert (found.start, found.end, found.loss) == (10, 50, 0.5)
    assert found.fall == pytest.approx(5)
    assert found.steps == 40


def test_noise_above_the_least_loss_hides_no_plateau():
    noise = torch.rand(101, generator=torch.Generator().manual_seed(0)).tolist()
    noisy = [loss * (1 + 0.5 * up * (i % 3 > 0)) for i, (loss, up) in
             enumerate(zip(_staircase(), noise, strict=True))]  # fmt: skip
    (found,) = plateaus(noisy)
    assert 8 <= found.start <= 12
    assert 48 <= found.end <= 52


def test_steps_may_be_uneven():
    losses = [4.0, 2.0, 2.0, 1.0]
    (found,) = plateaus(losses, [0, 1, 1000, 1001])
    assert (found.start, found.end, found.fall) == (1, 1000, 2.0)
    assert plateaus(losses, [0, 1000, 1001, 2000]) == ()


def test_a_steady_descent_has_no_plateau():
    assert plateaus([math.exp(-i / 10) for i in range(100)]) == ()


def test_plateaus_do_not_overlap():
    losses = [math.exp(-i / 400) for i in range(400)]
    found = plateaus(losses)
    for first, second in pairwise(found):
        assert first.end <= second.start


@pytest.mark.parametrize(
    ("losses", "steps"),
    [([1.0], None), ([1.0, -1.0], None), ([1.0, math.nan], None), ([1.0, 0.5], [1, 1]),
     ([1.0, 0.5], [1])],
)  # fmt: skip
def test_what_is_no_record_of_a_training_is_refused(losses, steps):
    with pytest.raises(InputError, match="expected"):
        plateaus(losses, steps)


# ---------------------------------------------------------------------------- flat directions


def test_the_share_of_flat_directions_and_the_effective_dimension_are_known():
    # Hessian 2·(1, 1, 0, 0): half of it flat, half of it 2.
    found = density(Curvature(bowl(1, 1, 0, 0), point(1, 1, 1, 1)), runs=200, seed=1)
    share, error = found.flat_share(0.1)
    assert share == pytest.approx(0.5, abs=4 * error)
    size, error = found.effective_dimension(2.0)
    assert size == pytest.approx(0.25, abs=4 * error)
