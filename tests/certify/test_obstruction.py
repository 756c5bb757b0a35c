"""Proofs of disconnection, against brute force and against paths that try to get through."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from tests.certify.obstruction_problems import CYCLE, fewer_units, regular, swapped, two_layers
from thalweg import Objective
from thalweg.certify.exact import exact_maximum
from thalweg.certify.obstruction import NotApplicable, Obstructed, obstruct
from thalweg.certify.obstruction_determinant import DeterminantSign
from thalweg.certify.obstruction_rank import RankOfTwoUnits
from thalweg.certify.shallow import Shallow


def cyclic(seed: int) -> Objective:
    """Appendix E.1: three points of the plane, each mapped to the next."""
    x = torch.randn(3, 2, generator=torch.Generator().manual_seed(seed))
    return two_layers(x, x[[1, 2, 0]], 3)


def directions(made: Objective) -> np.ndarray:
    """Angles of hidden units: a grid, and ever closer to where an example is switched."""
    x = Shallow.of(made).inputs
    edges = np.concatenate([np.arctan2(s * x[:, 0], -s * x[:, 1]) for s in (1, -1)])
    steps = np.concatenate([s * 10.0 ** -np.arange(1, 8) for s in (1, -1)])
    return np.sort(np.concatenate([np.linspace(-np.pi, np.pi, 181), *(edges + s for s in steps)]))


def brute_force(made: Objective, seed: int = 0) -> float:
    """Least loss with two hidden units, by a random search over the normals of their plane.

    A normal counts if two directions of hidden units are found that are orthogonal to it; the loss
    is that of the network of these two units.
    """
    shallow, rng, angles = Shallow.of(made), np.random.default_rng(seed), directions(made)

    def hidden(angle: np.ndarray) -> np.ndarray:
        w = np.stack([np.cos(angle), np.sin(angle)])
        return np.maximum(shallow.inputs @ w, 0)

    rows = hidden(angles)
    best, where = np.inf, np.zeros(3)
    for turn in range(10):
        normals = rng.normal(size=(4000, 3))
        if turn > 1:
            normals = where + 0.3 * 0.4 ** (turn - 2) * normals
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
        values = ((normals @ shallow.target) ** 2).sum(axis=1)
        signs = np.sign(normals @ rows)
        values[(signs[:, 1:] * signs[:, :-1] < 0).sum(axis=1) < 2] = np.inf
        if values.min() < best:
            best, where = values.min(), normals[values.argmin()]
    signs = np.sign(where @ rows)
    zeros = []
    for k in (signs[1:] * signs[:-1] < 0).nonzero()[0][:2]:
        left, right = angles[k], angles[k + 1]
        for _ in range(60):
            middle = (left + right) / 2
            same = np.sign(where @ hidden(np.array([middle])))[0] == signs[k]
            left, right = (middle, right) if same else (left, middle)
        zeros.append((left + right) / 2)
    return fewer_units(made, np.array(zeros))


@pytest.mark.parametrize("seed", range(100))
def test_three_points_are_disconnected_and_the_bound_is_sharp(seed: int) -> None:
    made = cyclic(seed)
    theta = regular(made, seed)
    found = obstruct(made, theta, swapped(made, theta))
    assert isinstance(found, Obstructed)
    assert "changes sign" in found.reason
    least = np.inf
    for attempt in range(8):  # the search is random: it may need another start
        if least > 1.03 * found.bound:
            least = min(least, brute_force(made, attempt))
    assert 0 < found.bound <= least * (1 + 1e-9)
    assert least <= 1.03 * found.bound
    assert found.bound <= found.attained <= 1.001 * found.bound
    cycle = obstruct(made, theta, swapped(made, theta, CYCLE))
    assert isinstance(cycle, NotApplicable)
    assert "same sign" in cycle.reason


@pytest.mark.parametrize("seed", range(20))
def test_no_polygon_gets_below_the_bound(seed: int) -> None:
    made = cyclic(seed)
    a = regular(made, seed)
    b = swapped(made, a)
    found = obstruct(made, a, b)
    assert isinstance(found, Obstructed)
    generator = torch.Generator().manual_seed(seed)
    for corners in range(6):
        middle = torch.randn(corners, made.layout.size, generator=generator)
        path = torch.cat([a[None], middle, b[None]])
        highest = max(exact_maximum(made, p, q).bound for p, q in itertools.pairwise(path))
        assert highest >= found.bound


def trained(made: Objective, seed: int) -> Tensor | None:
    """θ that fits the three points almost exactly, or None."""
    shallow = Shallow.of(made)
    x, y = torch.as_tensor(shallow.inputs), torch.as_tensor(shallow.target)
    theta = regular(made, seed).double()
    w1 = theta[:6].reshape(3, 2)
    h = torch.relu(x @ w1.T)
    w2 = torch.linalg.solve(h, y).T
    return None if w2.abs().max() > 20 else torch.cat([w1.flatten(), w2.flatten()]).float()


@pytest.mark.parametrize("seed", [0, 3, 4, 6])
def test_an_optimized_path_comes_close_from_above(seed: int) -> None:
    # The straight path has a far higher maximum; bending it leads down to B, never below.
    made = cyclic(seed)
    a = next(t for k in range(100) if (t := trained(made, k)) is not None)
    b = swapped(made, a)
    found = obstruct(made, a, b)
    assert isinstance(found, Obstructed)
    x, y = made.splits["train"].inputs[0].double(), made.splits["train"].target.double()
    generator = torch.Generator().manual_seed(seed)
    t = torch.linspace(0, 1, 18, dtype=torch.float64)[1:-1, None]
    beads = (1 - t) * a.double() + t * b.double()
    beads += 0.1 * torch.randn(beads.shape, generator=generator, dtype=torch.float64)
    beads.requires_grad_()
    optimizer = torch.optim.Adam([beads], lr=0.02)
    fractions = torch.linspace(0, 1, 6, dtype=torch.float64)[:-1, None, None]
    for _ in range(400):
        path = torch.cat([a.double()[None], beads, b.double()[None]])
        points = ((1 - fractions) * path[:-1] + fractions * path[1:]).flatten(0, 1)
        w1, w2 = points[:, :6].reshape(-1, 3, 2), points[:, 6:].reshape(-1, 2, 3)
        output = torch.relu(x @ w1.mT) @ w2.mT
        losses = (output - y).square().mean(dim=(1, 2))
        optimizer.zero_grad()
        (torch.logsumexp(losses * 50, 0) / 50).backward()
        optimizer.step()
    path = torch.cat([a.double()[None], beads.detach(), b.double()[None]]).float()
    highest = max(exact_maximum(made, p, q).maximum for p, q in itertools.pairwise(path))
    straight = exact_maximum(made, a, b).maximum
    assert found.bound <= highest < straight


def test_the_bound_holds_at_singular_networks() -> None:
    for seed in range(15):
        made = cyclic(seed)
        theta = regular(made, seed)
        found = obstruct(made, theta, swapped(made, theta))
        assert isinstance(found, Obstructed)
        rng = np.random.default_rng(seed)
        values = [fewer_units(made, rng.uniform(0, 2 * np.pi, 2)) for _ in range(100)]
        # Two neighbours of one breakpoint: planes that touch the set between two of its cones.
        x = Shallow.of(made).inputs
        for i in range(3):
            edge = np.arctan2(x[i, 0], -x[i, 1])
            for step in 10.0 ** -np.arange(1, 6):
                values += [
                    fewer_units(made, edge + turn + step * rng.normal(size=2))
                    for turn in (0, np.pi)
                ]
        assert min(values) >= found.bound


def test_an_endpoint_on_the_singular_set_is_obstructed() -> None:
    made = cyclic(0)
    theta = regular(made, 0)
    singular = theta.clone()
    singular[2:4] = singular[0:2]  # two hidden units alike
    for ends in ((singular, theta), (theta, singular), (singular, singular)):
        found = obstruct(made, *ends)
        assert isinstance(found, Obstructed)
        assert "is zero at an end" in found.reason
        assert float(made.criterion_of(singular[None]).values) >= found.bound


@pytest.mark.parametrize(
    ("inputs", "examples", "units", "options", "said"),
    [
        (2, 4, 3, {}, "as many hidden units as examples, got 3 and 4"),
        (2, 3, 3, {"out_bias": True}, "output layer without bias"),
        (2, 4, 4, {}, "three in a plane, got 4 of rank 2"),
        (1, 3, 3, {}, "got 3 of rank 1"),
        (5, 5, 5, {}, "needs 2 to 4 examples"),
    ],
)
def test_where_the_determinant_says_nothing_it_says_why(
    inputs: int, examples: int, units: int, options: dict[str, bool], said: str
) -> None:
    torch.manual_seed(0)
    made = two_layers(torch.randn(examples, inputs), torch.randn(examples, 2), units, **options)
    theta = torch.randn(made.layout.size)
    found = DeterminantSign().lower_bound(made, theta, theta)
    assert isinstance(found, NotApplicable)
    assert said in found.reason


def test_another_class_of_objective_is_not_obstructed() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2))
    made = Objective(model, F.mse_loss, train=(torch.randn(3, 2), torch.randn(3, 2)))
    found = obstruct(made, model, model)
    assert isinstance(found, NotApplicable)
    assert "determinant sign: expected one hidden relu layer" in found.reason
    assert "rank of the first layer: expected one hidden relu layer" in found.reason


@pytest.mark.parametrize(
    ("inputs", "examples", "bias"), [(3, 3, False), (2, 3, True), (4, 4, False)]
)
def test_independent_examples_against_the_closed_form(
    inputs: int, examples: int, bias: bool
) -> None:
    # Every non-negative row can be a row of H: all normals count that are not strictly positive.
    for seed in range(20):
        torch.manual_seed(seed)
        x, y = torch.randn(examples, inputs), torch.randn(examples, examples)
        made = two_layers(x, y, examples, bias)
        theta = regular(made, seed)
        found = obstruct(made, theta, swapped(made, theta, (1, 0, *range(2, examples))))
        assert isinstance(found, Obstructed)
        square = y.double().numpy() @ y.double().numpy().T
        values, vectors = np.linalg.eigh(square)
        least = values[0]
        if abs(np.sign(vectors[:, 0]).sum()) == examples:
            parts = [np.delete(np.delete(square, i, 0), i, 1) for i in range(examples)]
            least = min(np.linalg.eigvalsh(part)[0] for part in parts)
        gap = 1.001 if examples == 3 else 1.03  # four examples may exhaust the boxes
        assert found.bound <= least / y.numel() <= gap * found.bound


def test_a_single_cone_and_parallel_points() -> None:
    # x2 is parallel to x1: H is singular for every θ, with the normal (2, -1, 0).
    x = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]])
    y = torch.tensor([[1.0], [0.0], [3.0]])
    made = two_layers(x, y, 3)
    theta = torch.randn(made.layout.size)
    found = obstruct(made, theta, theta)
    assert isinstance(found, Obstructed)
    assert found.bound == pytest.approx((2 * 1 - 0) ** 2 / 5 / 3, rel=1e-3)
    assert found.bound <= brute_force(made) * (1 + 1e-9)


whole = st.integers(-3, 3)


@settings(max_examples=60)
@given(st.lists(st.tuples(whole, whole, whole), min_size=3, max_size=8), st.integers(0, 1000))
def test_points_in_special_position(points: list[tuple[int, int, int]], seed: int) -> None:
    # Parallel, opposite, repeated and zero inputs: breakpoints coincide, cones degenerate.
    data = torch.tensor(points, dtype=torch.float32)
    rng = np.random.default_rng(seed)
    three = two_layers(data[:3, :2], data[:3, 2:], 3)
    alike = torch.ones(three.layout.size)  # hidden units alike: singular
    found = DeterminantSign().lower_bound(three, alike, alike)
    if isinstance(found, Obstructed):
        for _ in range(40):
            assert fewer_units(three, rng.uniform(0, 2 * np.pi, 2)) >= found.bound
            assert fewer_units(three, rng.integers(0, 8, 2) * np.pi / 4) >= found.bound * 0.999999
    all_ = two_layers(data[:, :2], data[:, 2:], 2)
    alike = torch.ones(all_.layout.size)
    found = RankOfTwoUnits().lower_bound(all_, alike, alike)
    if isinstance(found, Obstructed):
        angles = np.append(rng.uniform(0, 2 * np.pi, 40), np.arange(4) * np.pi / 4)
        values = [fewer_units(all_, np.array([t, t + np.pi])) for t in angles]
        assert found.bound <= min(values) * (1 + 1e-12)
        assert found.bound >= found.attained * (1 - 1e-3)


def test_rescaled_data_rescale_the_bound() -> None:
    made = cyclic(5)
    x, y = made.splits["train"].inputs[0], made.splits["train"].target
    theta = regular(made, 5)
    bound = obstruct(made, theta, swapped(made, theta))
    larger = obstruct(two_layers(2**10 * x, 2**-10 * y, 3), theta, swapped(made, theta))
    assert isinstance(bound, Obstructed)
    assert isinstance(larger, Obstructed)
    assert larger.bound == pytest.approx(bound.bound * 2.0**-20, rel=1e-3)


def test_both_arguments_are_tried_and_the_larger_bound_wins() -> None:
    torch.manual_seed(1)
    made = two_layers(torch.randn(2, 2), torch.randn(2, 3), 2)
    theta = torch.tensor([1.0, 0.2, 0.1, 1.0, *[0.5] * 6])
    for seed in range(20):
        theta = regular(made, seed)
        b = swapped(made, theta, (1, 0))
        found = [o.lower_bound(made, theta, b) for o in (DeterminantSign(), RankOfTwoUnits())]
        bounds = [f.bound for f in found if isinstance(f, Obstructed)]
        best = obstruct(made, theta, b)
        assert isinstance(best, Obstructed)
        assert best.bound == max(bounds)
