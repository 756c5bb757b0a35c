"""Examples that are settled on a wide piece: what is left of them must still be the truth."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.certify.taylor_problems import flat, problem
from thalweg.certify.bisection import prove_segment, prove_segments
from thalweg.certify.enclosure import Segment, evaluate, is_separable, mean_at
from thalweg.certify.pieces import Task
from thalweg.certify.rules_criterion import Settled, Tally

EXAMPLES = 600


class Sequence(nn.Module):
    """Scores `[n, 3, 2]`: two targets an example."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(4, 8), nn.Linear(8, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.outer(torch.relu(self.inner(x))).reshape(-1, 3, 2)


def sequences(measure: str) -> tuple[Any, Tensor, Tensor]:
    torch.manual_seed(1)
    model = Sequence()
    x, y = torch.randn(EXAMPLES, 4), torch.randint(3, (EXAMPLES, 2))
    a = flat(model)
    return problem(model, x, y, F.cross_entropy, measure), a, a + 0.4 * torch.randn_like(a)


def classes(measure: str) -> tuple[Any, Tensor, Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    x = torch.randn(EXAMPLES, 4)
    a = flat(model)
    target = model.double()(x.double()).argmax(1)  # most losses are small, few are not
    return problem(model, x, target, F.cross_entropy, measure), a, a + 0.4 * torch.randn_like(a)


def highest(made: Any, a: Tensor, b: Tensor, left: float, right: float, places: int = 15) -> float:
    t = torch.linspace(left, right, places).tolist()
    return max(evaluate(made, a + x * (b - a)) for x in t)


@pytest.mark.parametrize("make", [classes, sequences])
@pytest.mark.parametrize("measure", ["loss", "perplexity", "error_rate"])
def test_bounds_of_cut_pieces_hold_and_few_examples_are_gone_through_again(make, measure):
    made, a, b = make(measure)
    level = 1.0004 * highest(made, a, b, 0, 1, places=401 if measure == "error_rate" else 15)
    found = prove_segment(
        made, a, b, threshold=level, max_evaluations=400, tolerance=1e-6, cuts=(0.5,)
    )
    assert found.reason == "proved"
    assert len(found.pieces) > 2
    for left, right, bound in found.pieces:
        assert highest(made, a, b, left, right) <= bound <= level
    assert found.samples < found.evaluations * EXAMPLES


def some_settled(made: Any, a: Tensor, b: Tensor) -> tuple[Segment, Tally, Settled, Tensor]:
    """The middle half of a segment, with some of its examples settled and the ids of the others."""
    segment = Segment(made, a, b)
    tally, _ = segment.enclose(0.25, 0.75)
    settled, ids = tally.settle(0.05)
    assert ids is not None
    assert 0 < len(ids) < EXAMPLES
    return segment, tally, settled, ids


@pytest.mark.parametrize("measure", ["loss", "error_rate"])
def test_a_settled_part_and_the_rest_bound_the_whole_on_both_halves(measure):
    made, a, b = classes(measure)
    segment, tally, settled, still_open = some_settled(made, a, b)
    for side, left, right in ((-1, 0.25, 0.5), (1, 0.5, 0.75)):
        half, samples = segment.enclose(left, right, still_open, settled.on_half(side, 0.5))
        assert samples == len(still_open)
        upper, seen, middle = half.bound()
        assert highest(made, a, b, left, right) <= upper <= tally.bound()[0]
        at_middle = evaluate(made, segment.at((left + right) / 2))
        assert seen <= at_middle <= middle


@pytest.mark.parametrize("make", [classes, sequences])
@pytest.mark.parametrize("measure", ["loss", "perplexity", "error_rate"])
def test_at_the_centre_the_settled_part_and_values_of_the_rest_are_the_criterion(make, measure):
    made, a, b = make(measure)
    segment, tally, settled, ids = some_settled(made, a, b)
    found = tally.at_centre(settled, mean_at(made, segment.at(0.5), ids), len(ids))
    exact = evaluate(made, segment.at(0.5))
    assert found <= exact + 1e-12
    assert found >= (exact - 1e-12 if measure == "error_rate" else exact - 0.1 * max(1, exact))


def test_settling_takes_up_no_more_than_the_room():
    made, a, b = classes("loss")
    tally, _ = Segment(made, a, b).enclose(0.0, 1.0)
    loose = tally.bound()[0]
    for room in (1e-3, 1e-2, 1e-1):
        settled, still_open = tally.settle(room)
        assert 2 * settled.noise <= room * EXAMPLES * (1 + 1e-9)
        assert still_open is not None
    _, still_open = tally.settle(10 * loose)
    assert still_open is not None
    assert not len(still_open)


def weighted(output: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(output, target, weight=torch.tensor([1.0, 2.0, 3.0]).double())


def transposed(output: Tensor, target: Tensor) -> Tensor:
    return ((output[:, :3].T - target) ** 2).mean()


def plain(output: Tensor, target: Tensor) -> Tensor:
    return ((output - target[:, None]) ** 2).mean()


@pytest.mark.parametrize(
    ("loss", "expected"),
    [(F.cross_entropy, True), (plain, True), (weighted, False), (transposed, False)],
)
def test_only_plain_means_over_examples_are_told_apart(loss, expected):
    torch.manual_seed(0)
    model = nn.Linear(4, 3)
    made = problem(model, torch.randn(40, 4), torch.tensor([0, 2, 1, 2] * 10), loss)
    assert is_separable(made, flat(model)) is expected
    # What cannot be told apart is bounded all the same.
    a = flat(model)
    b = a + torch.randn_like(a)
    found = prove_segment(made, a, b, threshold=None, max_evaluations=40, tolerance=1e-2)
    assert highest(made, a, b, 0, 1) <= found.bound


@pytest.mark.parametrize("criterion", ["loss", "perplexity", "error_rate"])
def test_a_narrow_piece_says_about_what_the_criterion_is_at_its_centre(criterion: str):
    made, a, b = classes(criterion)
    piece, _ = Segment(made, a, b).enclose(0.499, 0.501)
    assert piece.about == pytest.approx(evaluate(made, (a + b) / 2), rel=1e-3)


def test_segments_proved_together_are_the_same_as_alone():
    made, a, b = classes("loss")
    c = a + 0.2 * (b - a) + 0.1 * torch.randn_like(a)
    level = 1.01 * max(highest(made, a, c, 0, 1), highest(made, c, b, 0, 1))
    options = {"max_evaluations": 200, "tolerance": 1e-6}
    together = prove_segments(made, [Task(a, c, level), Task(c, b, level)], **options)
    alone = [prove_segment(made, *ends, threshold=level, **options) for ends in ((a, c), (c, b))]
    assert together == alone


class Bump(nn.Module):
    """Scores [.28, u v x] for class 0: with u = t, v = 1 - t wrong about t = 1/2 where x > 1.12."""

    def __init__(self) -> None:
        super().__init__()
        self.u, self.v = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([torch.full_like(x, 0.28), self.u * (self.v * x)], 1)


def test_a_look_at_the_few_open_examples_of_a_piece_refuses_the_segment():
    x = torch.full((100,), 0.01)
    x[::20] = 1.2
    made = problem(Bump(), x, torch.zeros(100).long(), F.cross_entropy, "error_rate")
    a, b = torch.tensor([[0.0, 1.0], [1.0, 0.0]]).double()
    task = Task(a, b, 0.02, cuts=(0.3, 0.5), values=(0.0, 0.0, 0.0))
    (found,) = prove_segments(made, [task], max_evaluations=100, tolerance=1e-6)
    assert found.reason == "refused"
    assert found.refused_at == 0.4
    assert found.seen == pytest.approx(0.05, abs=1e-12)
    assert found.evaluations == 2
    assert found.samples == 200 + 5  # bounds of all, values of those that the second leaves open
