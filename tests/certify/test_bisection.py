"""Proofs over whole segments: accepted, refused, and neither."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.certify.taylor_problems import flat, problem
from thalweg.certify.bisection import prove_segment
from thalweg.certify.enclosure import enclose, evaluate
from thalweg.certify.forecast import first_pieces
from thalweg.certify.taylor import UnsupportedOperation


class Function(nn.Module):
    """A function of one parameter, whatever the data."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(1))
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.w) + 0 * x


def landscape(function: Any) -> Any:
    x = torch.zeros(3, 1)
    return problem(Function(function), x, torch.zeros(3), lambda output, target: output.mean())


A, B = torch.zeros(1), torch.ones(1)


def spike(w: Tensor) -> Tensor:
    return torch.relu(1 - (w - 0.31235).abs() * 2e4)


def test_a_spike_between_grid_points_is_refused() -> None:
    made = landscape(spike)
    grid = [evaluate(made, torch.tensor([k / 1000]).double()) for k in range(1001)]
    assert max(grid) == 0
    found = prove_segment(made, A, B, threshold=0.5, max_evaluations=500, tolerance=1e-6)
    assert found.reason == "refused"
    assert found.refused_at is not None
    assert abs(found.refused_at - 0.31235) < 5e-5
    assert evaluate(made, torch.tensor([found.refused_at]).double()) > 0.5


def test_a_spike_below_the_threshold_is_proved() -> None:
    found = prove_segment(
        landscape(spike), A, B, threshold=1.01, max_evaluations=500, tolerance=1e-6
    )
    assert found.reason == "proved"
    assert 1 <= found.bound <= 1.01


@pytest.mark.parametrize("tolerance", [1e-6, 0.0])
def test_a_constant_criterion_at_the_threshold_ends_in_a_clear_outcome(tolerance: float) -> None:
    level = 0.1 + 0.2
    made = landscape(lambda w: 0.0 * w + level)
    found = prove_segment(made, A, B, threshold=level, max_evaluations=60, tolerance=tolerance)
    assert found.reason in {"proved", "tolerance", "budget"}
    assert found.bound == pytest.approx(level)
    assert found.refused_at is None
    assert found.evaluations <= 64


def test_pieces_cover_the_segment_and_their_bounds_hold() -> None:
    made = landscape(lambda w: (w * 6).sin() + w**2)
    found = prove_segment(made, A, B, threshold=None, max_evaluations=200, tolerance=1e-3)
    assert found.reason == "proved"
    assert found.pieces[0][0] == 0
    assert found.pieces[-1][1] == 1
    for (_, right, _), (left, _, _) in zip(found.pieces, found.pieces[1:], strict=False):
        assert left == right
    for left, right, bound in found.pieces:
        for k in range(11):
            t = left + (right - left) * k / 10
            assert evaluate(made, torch.tensor([t]).double()) <= bound
    assert found.seen <= found.bound <= found.seen * (1 + 1e-3) / (1 - 1e-3)


def test_a_small_budget_still_gives_a_bound() -> None:
    made = landscape(lambda w: (w * 6).sin())
    found = prove_segment(made, A, B, threshold=1.001, max_evaluations=3, tolerance=0.0)
    assert found.reason == "budget"
    assert found.bound >= 1


def test_an_exact_segment_of_float32_ends_is_covered() -> None:
    # Ends whose difference is not a float64 number.
    made = landscape(lambda w: w)
    a, b = torch.tensor([2.0**60]).double(), torch.tensor([2.0**-60]).double()
    found = prove_segment(made, a, b, threshold=None, max_evaluations=5, tolerance=1e-9)
    assert found.bound >= 2.0**60


@pytest.mark.parametrize("measure", ["loss", "error_rate", "perplexity"])
def test_a_network_is_proved_from_its_neighbourhood(measure: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    x = torch.randn(1500, 4)
    made = problem(model, x, torch.randint(3, (1500,)), F.cross_entropy, measure)
    a = flat(model)
    b = a + 0.3 * torch.randn_like(a)
    top = max(evaluate(made, a + t * (b - a)) for t in torch.linspace(0, 1, 101).tolist())
    found = prove_segment(made, a, b, threshold=1.02 * top, max_evaluations=100, tolerance=1e-6)
    assert found.reason == "proved"
    assert top <= found.bound + 1e-12 <= 1.02 * top + 1e-11
    refused = prove_segment(made, a, b, threshold=0.98 * top, max_evaluations=400, tolerance=1e-6)
    assert refused.reason == "refused"
    assert refused.refused_at is not None
    assert evaluate(made, a + refused.refused_at * (b - a)) > 0.98 * top


def test_forecasts_do_not_outrun_the_budget() -> None:
    torch.manual_seed(2)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
    made = problem(model, torch.randn(600, 4), torch.randint(3, (600,)))
    a = flat(model)
    b = a + 5 * torch.randn_like(a)
    top = max(evaluate(made, a + t * (b - a)) for t in torch.linspace(0, 1, 401).tolist())
    found = prove_segment(made, a, b, threshold=top + 1e-9, max_evaluations=20, tolerance=0.0)
    assert found.reason == "budget"
    assert found.samples <= 24 * 600
    assert found.pieces[0][0] == 0
    assert found.pieces[-1][1] == 1
    assert found.bound > top


class Sequences(nn.Module):
    """A small recurrent network, whose bounds grow without limit on wide pieces."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.scores = nn.LSTM(2, 6, batch_first=True), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.scores(self.layer(x)[0][:, -1])


def sequences(measure: str) -> tuple[Any, Tensor, Tensor, float]:
    """A problem too small for forecasts of all pieces, a segment, and its highest point."""
    torch.manual_seed(3)
    model = Sequences()
    made = problem(
        model, torch.randn(90, 8, 2), torch.randint(3, (90,)), F.cross_entropy, measure
    )  # fmt: skip
    a = 2 * flat(model)
    b = a + torch.randn_like(a)
    return made, a, b, max(
        evaluate(made, a + t * (b - a)) for t in torch.linspace(0, 1, 201).tolist()
    )  # fmt: skip


@pytest.mark.parametrize("measure", ["loss", "error_rate", "perplexity"])
def test_pieces_of_a_small_problem_cover_the_segment(measure: str) -> None:
    made, a, b, top = sequences(measure)
    found = prove_segment(made, a, b, threshold=1.1 * top, max_evaluations=400, tolerance=1e-6)
    assert found.reason == "proved"
    assert top <= found.bound + 1e-12
    assert found.bound <= 1.1 * top
    assert len(found.pieces) > 2
    marks = [0.0, *(right for _, right, _ in found.pieces)]
    assert marks[-1] == 1.0
    assert marks[:-1] == [left for left, _, _ in found.pieces]
    for left, right, bound in found.pieces:
        for s in (0.0, 0.3, 0.5, 1.0):
            assert evaluate(made, a + (left + s * (right - left)) * (b - a)) <= bound + 1e-12


def test_a_small_problem_is_refused_or_left_when_the_budget_is_spent() -> None:
    made, a, b, top = sequences("loss")
    refused = prove_segment(made, a, b, threshold=0.99 * top, max_evaluations=400, tolerance=1e-6)
    assert refused.reason == "refused"
    for budget in range(1, 9):
        found = prove_segment(made, a, b, threshold=2 * top, max_evaluations=budget, tolerance=0.0)
        assert found.reason in {"budget", "proved"}
        assert (found.reason == "proved") == (found.bound <= 2 * top)
    assert prove_segment(
        made, a, b, threshold=2 * top, max_evaluations=1, tolerance=0.0
    ).bound == float("inf")  # fmt: skip


@pytest.mark.parametrize(
    ("measure", "examples", "ahead"),
    [("error_rate", 300, True), ("error_rate", 200, False), ("loss", 300, False),
     ("loss", 600, True)],
)  # fmt: skip
def test_pieces_are_forecast_together_where_a_few_examples_are_a_small_part(
    measure: str, examples: int, ahead: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    made = problem(
        model, torch.randn(examples, 4), torch.randint(3, (examples,)), F.cross_entropy, measure
    )  # fmt: skip
    calls = []

    def forecast(shares: Any) -> list[tuple[float, float]]:
        calls.append(shares)
        return first_pieces(shares)

    monkeypatch.setattr("thalweg.certify.pieces.first_pieces", forecast)
    a = flat(model)
    found = prove_segment(made, a, a + 0.5, threshold=10.0, max_evaluations=400, tolerance=1e-6)
    assert found.reason == "proved"
    assert len(calls) == int(ahead)


def test_shared_products_change_nothing() -> None:
    # Large enough for forecasts, and a first layer whose products are kept.
    torch.manual_seed(1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3), nn.Tanh(), nn.Linear(3, 2))
    x = torch.randn(40, 4, 4).double()
    made = problem(model, x, torch.randint(2, (40,)))
    a = flat(model)
    b = a + torch.randn_like(a)
    found = prove_segment(made, a, b, threshold=None, max_evaluations=9, tolerance=0.0)
    for left, right, bound in found.pieces:
        middle, half = (left + right) / 2, (right - left) / 2
        apart = enclose(made, a + middle * (b - a), b - a, half)
        assert bound == pytest.approx(apart.upper, rel=1e-9)


class Inner(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.fft.fft(x).real


def test_an_operation_without_a_rule_is_named_with_its_module() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.ReLU(), Inner()))
    made = problem(model, torch.zeros(2, 2).double(), torch.zeros(2).long())
    with pytest.raises(UnsupportedOperation, match=r"'fft_fft' in module '1\.1'") as caught:
        enclose(made, flat(model), flat(model), 0.1)
    assert caught.value.operation == "fft_fft"
    assert caught.value.module == "1.1"


def test_a_loss_without_a_rule_is_named() -> None:
    model = nn.Linear(2, 2)
    made = problem(
        model, torch.zeros(2, 2).double(), torch.zeros(2), lambda output, target: output.svd()[1]
    )
    with pytest.raises(UnsupportedOperation, match="'svd' in module 'loss'"):
        enclose(made, flat(model), flat(model), 0.1)


@pytest.mark.parametrize(
    "function",
    [
        lambda w: w if w > 0 else -w,  # a branch that depends on the parameters
        lambda w: w * float(w),
        lambda w: (w > 0).to(w.dtype) * w,
        lambda w: (torch.stack([w, -w]).max(0).indices == 0) * w,
        lambda w: w.view(1).relu_() + w,
    ],
)
def test_what_would_escape_the_bound_is_refused(function: Any) -> None:
    with pytest.raises(UnsupportedOperation):
        enclose(landscape(function), torch.zeros(1).double(), torch.ones(1).double(), 0.1)


def test_the_callers_model_is_unchanged() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))
    made = problem(model, torch.randn(5, 3).double(), torch.randint(2, (5,)))
    before = {name: tensor.clone() for name, tensor in made.model.state_dict().items()}
    kinds = {name: type(p) for name, p in made.model.named_parameters()}
    enclose(made, flat(model), torch.ones_like(flat(model)), 0.1)
    for name, tensor in made.model.state_dict().items():
        assert torch.equal(tensor, before[name])
    assert {name: type(p) for name, p in made.model.named_parameters()} == kinds
