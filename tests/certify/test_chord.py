"""Proofs by chords against brute force, the Taylor models, and closed forms."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from tests.certify.chord_problems import LOSSES, Drawn, draw, polynomial
from thalweg.certify.bisection import prove_segment
from thalweg.certify.chord import applies, prove_chords
from thalweg.certify.pieces import ProvedSegment
from thalweg.errors import InputError
from thalweg.objective import Criterion, Objective
from thalweg.tasks import get_task


def prove(
    drawn: Drawn,
    threshold: float | None,
    evaluations: int = 60,
    tolerance: float = 1e-4,
    **more: Any,
) -> ProvedSegment:
    return prove_chords(
        drawn.objective, drawn.start[None], drawn.end[None], [threshold],
        max_evaluations=evaluations, tolerance=tolerance, **more,
    )[0]  # fmt: skip


def check(drawn: Drawn, evaluations: int) -> None:
    """No value, however found, is above its bound, on the segment and on every piece."""
    found = prove(drawn, None, evaluations)
    top = drawn.maximum()
    slack = 1e-12 * (1 + abs(top))  # plain evaluation rounds, too
    assert top <= found.bound + slack
    assert found.seen <= top + slack
    assert found.pieces[0][0] == 0
    assert found.pieces[-1][1] == 1
    for before, after in zip(found.pieces, found.pieces[1:], strict=False):
        assert before[1] == after[0]
    grid = torch.linspace(0, 1, 401, dtype=torch.float64)
    values = drawn.values(grid)
    for left, right, bound in found.pieces:
        inside = values[(grid >= left) & (grid <= right)]
        assert bool((inside <= bound + slack).all())


CHAINS: Any = {
    "depth": st.integers(1, 4), "width": st.integers(1, 8), "inputs": st.integers(1, 2),
    "kind": st.integers(0, 29), "loss": st.integers(0, len(LOSSES) - 1),
    "seed": st.integers(0, 10**6), "size": st.floats(-3, 1), "evaluations": st.integers(1, 12),
}  # fmt: skip


@settings(max_examples=40)
@given(**CHAINS)
def test_no_value_is_above_its_bound(evaluations: int, size: float, **chain: Any) -> None:
    check(draw(**chain, size=10**size), evaluations)


@pytest.mark.slow
@settings(max_examples=1500)
@given(**CHAINS)
def test_no_value_is_above_its_bound_on_thousands_of_chains(
    evaluations: int, size: float, **chain: Any
) -> None:
    check(draw(**chain, size=10**size), 4 * evaluations)


@pytest.mark.parametrize("loss", [0, 1, 5, 6, 7])
def test_what_is_added_to_the_maximum_falls_with_the_square_of_the_width(loss: int) -> None:
    drawn = draw(2, 4, 1, 1, loss, 28, size=3.0)  # its maximum lies inside
    grid = torch.linspace(0, 1, 1001)
    top = float(grid[int(drawn.values(grid).argmax())])
    assert 0.2 < top < 0.8
    excess = []
    for width in (2.0**-5, 2.0**-8):
        left, right = top - width / 2, top + width / 2
        found = prove(drawn, None, 1, cuts=[(left, right)])
        bound = next(piece[2] for piece in found.pieces if piece[0] == left)
        excess.append(bound - drawn.maximum(left, right, 101))
    assert 1e-6 < excess[1] < excess[0] / 50


def test_segments_are_proved_just_above_their_maximum_and_refused_just_below() -> None:
    problems = [polynomial(seed) for seed in range(6)]
    first = problems[0].objective
    starts, ends = (torch.stack([getattr(p, end) for p in problems]) for end in ("start", "end"))
    tops = [Drawn(first, *pair).maximum() for pair in zip(starts, ends, strict=True)]
    wanted = [top * factor for top in tops for factor in (1.001, 0.999)]
    starts, ends = (end.repeat_interleave(2, 0) for end in (starts, ends))
    found = prove_chords(first, starts, ends, wanted, max_evaluations=400, tolerance=1e-6)
    for i, segment in enumerate(found):
        assert segment.reason == ("refused" if i % 2 else "proved"), i
        if segment.refused_at is not None:
            at = torch.tensor([segment.refused_at], dtype=torch.float64)
            value = Drawn(first, starts[i], ends[i]).values(at)
            assert float(value[0]) > wanted[i]
        else:
            assert tops[i // 2] <= segment.bound <= wanted[i]


@pytest.mark.parametrize("name", ["quadratic", "cubic"])
def test_chords_and_taylor_models_agree_on_the_papers_tasks(name: str) -> None:
    task = get_task(name)
    objective = task.build(None).with_examples({"test": 1000})
    a, b, c = (
        objective.theta(task.initialize(torch.Generator().manual_seed(seed))) for seed in range(3)
    )
    starts, ends = torch.stack([a, b, a + 0.05 * (c - a)]), torch.stack([b, c, a])
    stack = torch.stack([starts + t * (ends - starts) for t in torch.linspace(0, 1, 65).tolist()])
    values = objective.double().criterion_of(stack.flatten(0, 1).double()).values
    tops = values.reshape(65, 3).amax(0).tolist()
    for factor in (1.01, 0.99):
        levels = [top * factor for top in tops]
        ours = prove_chords(objective, starts, ends, levels, max_evaluations=400, tolerance=1e-4)
        for i, found in enumerate(ours):
            taylor = prove_segment(
                objective, starts[i], ends[i], threshold=levels[i], max_evaluations=400,
                tolerance=1e-4,
            )  # fmt: skip
            assert found.reason == taylor.reason == ("proved" if factor > 1 else "refused")


class Bump(nn.Module):
    """A difference of two steep sigmoids of the one weight that moves."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = nn.Sequential(nn.Linear(1, 2), nn.Sigmoid(), nn.Linear(2, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return self.steps(x)


def spike() -> Drawn:
    """Zero but for a bump of height about 1 and width 3e-4 around t = .31235."""
    made = Objective(Bump(), F.l1_loss, train=(torch.ones(4, 1), torch.zeros(4, 1)))
    steep, place, width = 4e4, 0.31235, 1.5e-4
    start = torch.tensor([0, 0, steep * (width - place), -steep * (width + place), 1.0, -1.0])
    end = start + torch.tensor([steep, steep, 0, 0, 0, 0.0])
    return Drawn(made, start, end)


def test_a_spike_between_grid_points_is_refused() -> None:
    drawn = spike()
    assert float(drawn.values(torch.linspace(0, 1, 1001)).max()) < 0.1
    found = prove(drawn, 0.5, 500, 1e-6)
    assert found.reason == "refused"
    assert found.refused_at is not None
    assert abs(found.refused_at - 0.31235) < 2e-4
    assert float(drawn.values(torch.tensor([found.refused_at], dtype=torch.float64))[0]) > 0.5


def test_a_spike_below_the_threshold_is_proved() -> None:
    found = prove(spike(), 1.05, 500, 1e-6)
    assert found.reason == "proved"
    assert 0.9 < spike().maximum(0.312, 0.3127) <= found.bound <= 1.05


@pytest.mark.parametrize("tolerance", [1e-6, 0.0])
def test_a_constant_criterion_at_the_threshold_ends_in_a_clear_outcome(tolerance: float) -> None:
    made = Objective(
        nn.Sequential(nn.Linear(1, 2), nn.Tanh(), nn.Linear(2, 1)), F.l1_loss,
        train=(torch.rand(50, 1), torch.zeros(50, 1)),
    )  # fmt: skip
    start = torch.tensor([1.0, 2.0, 0.0, 0.0, 0.0, 0.0, 0.5])
    end = start + torch.tensor([3.0, -1.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    found = prove(Drawn(made, start, end), 0.5, 60, tolerance)
    assert found.reason in {"tolerance", "budget"}
    assert found.refused_at is None
    assert found.bound == pytest.approx(0.5)
    assert found.bound > 0.5
    assert found.evaluations <= 68


def test_without_a_threshold_the_bound_is_as_tight_as_the_tolerance() -> None:
    drawn = polynomial(3)
    found = prove(drawn, None, 2000, 1e-4)
    assert found.reason == "proved"
    assert drawn.maximum() <= found.bound + 1e-12
    assert found.bound <= found.seen * (1 + 1e-4) / (1 - 1e-4)


def test_a_small_budget_still_gives_a_bound() -> None:
    drawn = polynomial(2)
    top = drawn.maximum()
    found = prove(drawn, top * (1 + 1e-9), 3, 0.0)
    assert found.reason == "budget"
    assert found.bound >= top - 1e-12
    assert found.samples <= 8 * 400


def test_neighbours_share_the_value_of_their_bead() -> None:
    drawn = polynomial(1)
    points = torch.stack([drawn.start, drawn.end, drawn.start + 1, drawn.start])
    high = 10 * float(drawn.values(torch.tensor([0.0, 1.0])).max())
    together = prove_chords(
        drawn.objective, points[:-1], points[1:], [high] * 3, max_evaluations=50, tolerance=1e-3
    )
    apart = [prove(Drawn(drawn.objective, points[i], points[i + 1]), high) for i in range(3)]
    assert [found.pieces for found in together] == [found.pieces for found in apart]
    samples = [sum(found.samples for found in both) for both in (together, apart)]
    assert samples[1] - samples[0] == 3 * 400  # of six ends three are new


def test_no_segments_are_proved_at_once() -> None:
    drawn = polynomial(1)
    none = drawn.start[None][:0]
    assert prove_chords(drawn.objective, none, none, [], max_evaluations=1, tolerance=0.1) == []


def test_first_pieces_end_where_they_are_asked_to() -> None:
    drawn = polynomial(5)
    found = prove(drawn, 10 * drawn.maximum(), cuts=[(0.1, 0.7)])
    assert [piece[:2] for piece in found.pieces] == [(0, 0.1), (0.1, 0.7), (0.7, 1)]


def test_values_that_are_not_finite_prove_nothing() -> None:
    drawn = polynomial(6)
    found = prove(Drawn(drawn.objective, drawn.start, drawn.end * 1e38 * 1e38), 0.5)
    assert found.bound == math.inf
    assert found.reason == "resolution"


def test_a_network_that_crosses_the_jump_of_softplus_is_not_proved() -> None:
    # torch's softplus is the identity above 20 and jumps there by 2e-9.
    made = Objective(
        nn.Sequential(nn.Linear(1, 1, bias=False), nn.Softplus(), nn.Linear(1, 1, bias=False)),
        F.l1_loss, train=(torch.ones(2, 1), torch.zeros(2, 1)),
    )  # fmt: skip
    found = prove(Drawn(made, torch.tensor([19.0, 1.0]), torch.tensor([21.0, 1.0])), 30.0, 20)
    assert found.reason == "budget"
    assert found.bound == math.inf


X, LABELS = torch.rand(40, 1), torch.randint(3, (40,))


def net(inputs: int, outputs: int, activation: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, 2), activation, nn.Linear(2, outputs))


WHY_NOT: dict[str, tuple[nn.Module, Any, Any, str]] = {
    "'relu'": (net(1, 1, nn.ReLU()), F.l1_loss, (X, X), "loss"),
    "'GELU'": (net(1, 1, nn.GELU("tanh")), F.l1_loss, (X, X), "loss"),
    "begin": (nn.Sequential(nn.Tanh(), nn.Linear(1, 1)), F.l1_loss, (X, X), "loss"),
    "the loss": (net(1, 1, nn.Tanh()), lambda z, y: (z - y).abs().mean(), (X, X), "loss"),
    "plain settings": (
        net(1, 3, nn.Tanh()), nn.CrossEntropyLoss(label_smoothing=0.1), (X, LABELS), "loss"
    ),
    "error rate": (net(1, 3, nn.Tanh()), F.cross_entropy, (X, LABELS), "error_rate"),
    "50 dimensions": (
        net(50, 1, nn.Tanh()), F.l1_loss, (torch.rand(9, 50), torch.rand(9, 1)), "loss"
    ),
    "small boxes": (
        net(6, 1, nn.Tanh()), F.l1_loss, (torch.rand(900, 6), torch.rand(900, 1)), "loss"
    ),
    "targets": (net(1, 1, nn.Tanh()), F.binary_cross_entropy_with_logits, (X, 2 + X), "loss"),
}  # fmt: skip


@pytest.mark.parametrize("words", WHY_NOT)
def test_where_the_route_does_not_apply_it_says_why(words: str) -> None:
    model, loss, data, measure = WHY_NOT[words]
    made = Objective(model, loss, train=data, criterion=Criterion(measure))
    assert words in (applies(made) or "")
    ends = torch.zeros(1, made.layout.size)
    with pytest.raises(InputError, match="Taylor models"):
        prove_chords(made, ends, ends, [1.0], max_evaluations=1, tolerance=0.1)


def negate(module: nn.Module, arguments: Any, output: Tensor) -> Tensor:
    return -output


def test_a_hook_that_changes_the_network_is_noticed() -> None:
    model = nn.Sequential(nn.Linear(1, 2), nn.Tanh(), nn.Linear(2, 1))
    model.register_forward_hook(negate)  # that of the whole, which its graph does not show
    made = Objective(model, F.l1_loss, train=(X, X))
    assert "not what the network computes" in (applies(made) or "")
