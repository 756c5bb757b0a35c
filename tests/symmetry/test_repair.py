"""REPAIR: hidden units of the interpolated network have the statistics in between."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.symmetry.networks import NETWORKS, output, tensors
from thalweg import InputError, Objective, repair


def _pair(make: Callable[[], nn.Sequential]) -> tuple[Objective, nn.Sequential, nn.Sequential]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        a, b = make().double(), make().double()
        x, y = torch.randn(400, 6).double(), torch.randint(0, 3, (400,))
    return Objective(a, F.cross_entropy, train=(x, y), strategy="loop"), a, b


def _mlp(bias: bool = True) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(6, 20, bias), nn.ReLU(), nn.Linear(20, 10, bias), nn.ReLU(), nn.Linear(10, 3)
    )


def _preactivations(objective: Objective, theta: Tensor) -> list[Tensor]:
    model = _mlp("0.bias" in objective.layout.names).double()
    model.load_state_dict(objective.layout.unflatten(theta))
    x = objective.splits["train"].inputs[0]
    with torch.no_grad():
        return [model[:1](x), model[:3](x)]


@pytest.mark.parametrize("t", [0.0, 0.3, 1.0])
def test_means_and_deviations_are_those_in_between(t):
    objective, a, b = _pair(_mlp)
    theta = repair(objective, a, b, t)
    ends = [_preactivations(objective, objective.theta(m)) for m in (a, b)]
    for found, at_a, at_b in zip(_preactivations(objective, theta), *ends, strict=True):
        for statistic in (torch.mean, torch.std):
            wanted = torch.lerp(statistic(at_a, 0), statistic(at_b, 0), t)
            torch.testing.assert_close(statistic(found, 0), wanted, rtol=1e-9, atol=1e-9)


def test_without_bias_the_deviations_alone_are_repaired():
    objective, a, b = _pair(lambda: _mlp(bias=False))
    theta = repair(objective, a, b)
    ends = [_preactivations(objective, objective.theta(m))[0] for m in (a, b)]
    wanted = (ends[0].std(0) + ends[1].std(0)) / 2
    torch.testing.assert_close(_preactivations(objective, theta)[0].std(0), wanted)


def test_the_output_layer_is_the_interpolated_one():
    objective, a, b = _pair(_mlp)
    repaired = objective.layout.unflatten(repair(objective, a, b, 0.25))
    ends = [tensors(model)["4.weight"] for model in (a, b)]
    torch.testing.assert_close(repaired["4.weight"], torch.lerp(ends[0], ends[1], 0.25))


def test_with_batchnorm_it_is_the_re_estimation_of_its_statistics():
    network = NETWORKS["residual"]
    model, inputs = network.model(), network.data(64)
    objective = Objective(model, F.cross_entropy, train=(inputs, torch.arange(64) % 4),
                          strategy="loop")  # fmt: skip
    theta = objective.theta(model)
    found = repair(objective, theta, 0.5 * theta, 0.5)
    torch.testing.assert_close(found, 0.75 * theta)
    state = objective.state_dict(found)
    hidden = output(
        model.get_submodule("conv"), {n: state[f"conv.{n}"] for n in ("weight", "bias")}, inputs
    )
    torch.testing.assert_close(state["bn.running_mean"], hidden.mean((0, 2, 3)))


def test_a_fraction_outside_the_line_is_refused():
    objective, a, b = _pair(_mlp)
    with pytest.raises(InputError, match=r"t in \[0, 1\], got 1.5"):
        repair(objective, a, b, 1.5)
    assert tensors(a).keys() == tensors(b).keys()
