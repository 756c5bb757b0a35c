"""Points of lines and planes against one plain pass in float64 at every one of them."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.helpers import PROBLEMS, brute_force, random_stack
from thalweg import Criterion, InputError, Objective
from thalweg.objective import evaluate_on
from thalweg.objective.affine import first_layer
from thalweg.objective.flat import _cut
from thalweg.objective.planning import Plan, Planner


class Convolutional(nn.Module):
    """In the functional style, with a window that does not divide the image."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 3, 3, padding=1)
        self.second = nn.Conv2d(3, 4, 2)
        self.out = nn.Linear(4 * 3 * 1, 3)

    def forward(self, image: Tensor) -> Tensor:
        hidden = functional.max_pool2d(functional.relu(self.first(image)), (2, 3))
        hidden = functional.relu(self.second(hidden))
        return self.out(hidden.view(image.size(0), -1))


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.out = nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(x + torch.tanh(self.first(x)))


class TiedFirst(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.out = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.relu(self.second(torch.relu(self.first(x)))))


class TwiceFirst(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.out = nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.tanh(self.first(torch.tanh(self.first(x)))))


def frozen_first() -> nn.Module:
    model = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 3))
    model[0].requires_grad_(False)
    return model


def after_batchnorm() -> nn.Module:
    return nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 3))


def activations() -> nn.Module:
    return nn.Sequential(
        nn.Linear(3, 6), nn.LeakyReLU(), nn.Linear(6, 5, bias=False), nn.Softplus(),
        nn.Linear(5, 4), nn.Sigmoid(), nn.Identity(), nn.Linear(4, 3),
    )  # fmt: skip


class Functions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.out = nn.Linear(3, 6), nn.Linear(6, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        hidden = functional.leaky_relu(self.first(x.flatten(1)), 0.2)
        return self.out(functional.elu(self.second(hidden).tanh(), alpha=0.5).relu())


def sequence() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 6), nn.LayerNorm(6), nn.GELU(), nn.Linear(6, 3))


def dropping() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(3, 6), nn.Sigmoid(), nn.Dropout(0.5), nn.Linear(6, 3)
    )


def overlapping() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(3, 2), nn.Flatten(), nn.Linear(2 * 2 * 2, 3)
    )


def one_dimensional() -> nn.Module:
    return nn.Sequential(nn.Conv1d(1, 2, 3), nn.Tanh(), nn.Flatten(), nn.Linear(2 * 4, 3))


REUSED = {
    "mlp": (PROBLEMS["mlp"].model, (3,)),
    "activations": (activations, (3,)),
    "functions": (Functions, (3,)),
    "layer norm": (sequence, (3,)),
    "dropout": (dropping, (3,)),
    "residual": (Residual, (3,)),
    "cnn": (PROBLEMS["cnn"].model, (1, 8, 8)),
    "functional cnn": (Convolutional, (1, 8, 6)),
    "overlapping pool": (overlapping, (1, 7, 8)),
    "conv1d": (one_dimensional, (1, 6)),
}
PLAIN = {
    "tied": (TiedFirst, (3,)),
    "twice": (TwiceFirst, (3,)),
    "frozen": (frozen_first, (3,)),
    "one layer": (lambda: nn.Linear(3, 3), (3,)),
}  # fmt: skip
MEASURES = (Criterion("loss"), Criterion("error_rate"), Criterion("perplexity"))


def absolute(output: Tensor, target: Tensor) -> Tensor:
    return (output.mean(1) - target).abs()


def build(make, shape, dtype=torch.float64, loss=functional.cross_entropy, **options):
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = make().to(dtype)
        data = torch.randn(150, *shape, dtype=dtype), torch.randint(0, 3, (150,))
    return Objective(model, loss, train=data, **options)


def flat(objective: Objective, directions: int, points: int = 11):
    """Origin, directions, coordinates, and the points themselves in float64."""
    origin, *rest = random_stack(objective, 1 + directions)
    generator = torch.Generator().manual_seed(5)
    coordinates = torch.randn(points, directions, generator=generator, dtype=torch.float64)
    rows = torch.stack(rest)
    return origin, rows, coordinates, origin.double() + coordinates @ rows.double()


@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("name", [*REUSED, *PLAIN])
def test_values_on_lines_and_planes_are_those_of_every_point_alone(name, directions):
    make, shape = {**REUSED, **PLAIN}[name]
    objective = build(make, shape)
    origin, rows, coordinates, points = flat(objective, directions)
    assert (_cut(objective) is not None) == (name in REUSED)
    measures = (*MEASURES, Criterion(absolute))
    found = evaluate_on(objective, origin, rows, coordinates, "train", measures)
    for column, measure in zip(found.values.T, measures, strict=True):
        expected = [brute_force(objective, theta, measure) for theta in points]
        assert column.tolist() == pytest.approx(expected, rel=1e-11)
    assert found.complete.all()
    assert (found.evaluations, found.samples) == (11, 11 * 150)


WAYS = [
    *((name, way) for name in ("mlp", "layer norm", "cnn") for way in ("rest-loop", "rest-vmap")),
    ("mlp", "rest-stack"),
]


@pytest.mark.parametrize(("name", "way"), WAYS)
def test_every_way_to_run_the_rest_gives_the_same(name, way, monkeypatch):
    tried = []

    def choose(self, key, candidates, run, agrees):
        del self, key, candidates
        plan = Plan(way, 3, 40)
        tried.append(run(plan))
        assert agrees(plan)
        return plan

    monkeypatch.setattr(Planner, "choose", choose)
    for loss in (functional.cross_entropy, nn.CrossEntropyLoss(label_smoothing=0.1)):
        objective = build(*REUSED[name], loss=loss)
        origin, rows, coordinates, points = flat(objective, 1)
        found = evaluate_on(objective, origin, rows, coordinates, "train", MEASURES)
        expected = [brute_force(objective, theta, MEASURES[0]) for theta in points]
        assert found.values[:, 0].tolist() == pytest.approx(expected, rel=1e-11)
    assert len(tried) == 2


def test_where_no_way_agrees_with_the_loop_points_are_evaluated_one_by_one(monkeypatch):
    monkeypatch.setattr("thalweg.objective.flat.reuse_agrees", lambda *_: False)
    objective = build(*REUSED["mlp"], loss=functional.cross_entropy)
    origin, rows, coordinates, points = flat(objective, 1)
    found = evaluate_on(objective, origin, rows, coordinates, "train", (Criterion(),))
    expected = [brute_force(objective, theta, Criterion()) for theta in points]
    assert found.values[:, 0].tolist() == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize(("name", "directions"), [("mlp", 1), ("cnn", 2), ("residual", 1)])
def test_float32_is_within_a_millionth_of_float64(name, directions):
    objective = build(*REUSED[name], dtype=torch.float32)
    origin, rows, coordinates, points = flat(objective, directions)
    found = evaluate_on(objective, origin, rows, coordinates, "train", (Criterion(),))
    expected = [brute_force(objective.double(), theta, Criterion()) for theta in points]
    assert found.values[:, 0].tolist() == pytest.approx(expected, rel=1e-6)


def test_terms_that_cancel_do_no_harm():
    objective = build(*REUSED["mlp"], dtype=torch.float32)
    origin, rows, *_ = flat(objective, 1)
    far = 1e4 * rows[0]
    # On this line the network is the origin's at one end, and the terms are large everywhere else.
    coordinates = torch.linspace(0, 1, 21, dtype=torch.float64)[:, None]
    found = evaluate_on(objective, origin + far, -far[None], coordinates, "train", (Criterion(),))
    end = (origin + far).double() - far.double()
    expected = brute_force(objective.double(), end, Criterion())
    assert float(found.values[-1, 0]) == pytest.approx(expected, rel=1e-6)


def test_a_logit_an_example_is_judged_by_its_sign():
    model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1))
    x = torch.randn(60, 2, generator=torch.Generator().manual_seed(0))
    target = (x[:, :1] > 0).float()
    loss = functional.binary_cross_entropy_with_logits
    objective = Objective(model, loss, train=(x, target))
    origin, rows, coordinates, points = flat(objective, 1)
    found = evaluate_on(
        objective, origin, rows, coordinates, "train", (Criterion("error_rate"), Criterion())
    )
    for value, theta in zip(found.values[:, 0].tolist(), points, strict=True):
        own = objective.layout.unflatten(theta.float())
        wrong = (torch.func.functional_call(objective.model, own, x) > 0) != (target > 0)
        assert value == pytest.approx(float(wrong.double().mean()))


@pytest.mark.parametrize("make", [PROBLEMS["batchnorm"].model, after_batchnorm])
def test_statistics_of_batchnorm_follow_theta(make):
    objective = build(make, (3,))
    origin, rows, coordinates, points = flat(objective, 1)
    found = evaluate_on(objective, origin, rows, coordinates, "train", (Criterion(),))
    expected = objective.criterion_of(points).values
    assert torch.allclose(found.values, expected, rtol=1e-11)


def test_two_inputs_and_token_numbers():
    for name in ("two inputs", "tied"):
        objective = PROBLEMS[name].build()
        origin, rows, coordinates, points = flat(objective, 2)
        found = evaluate_on(objective, origin, rows, coordinates, "train", (Criterion(),))
        expected = [brute_force(objective, theta, Criterion()) for theta in points]
        assert found.values[:, 0].tolist() == pytest.approx(expected, rel=1e-11)


def test_points_above_a_ceiling_leave_early_and_the_others_are_exact():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 3)).double()
        data = torch.randn(3000, 3, dtype=torch.float64), torch.randint(0, 3, (3000,))
    objective = Objective(model, functional.cross_entropy, train=data)
    origin, rows, coordinates, points = flat(objective, 1, points=25)
    exact = objective.criterion_of(points).values[:, 0]
    level = float(exact.quantile(0.4))
    found = evaluate_on(
        objective, origin, rows, coordinates, "train", (Criterion(),), ceiling=level
    )
    below = exact <= level
    assert torch.equal(found.values[:, 0] <= level, below)
    assert found.complete[below].all()
    assert torch.allclose(found.values[below, 0], exact[below], rtol=1e-11)
    assert found.samples < 25 * 3000


def test_a_value_that_is_not_finite_stays_and_the_others_are_exact():
    objective = build(*REUSED["mlp"], dtype=torch.float32)
    origin, rows, coordinates, points = flat(objective, 1)
    coordinates[4] = 1e38
    found = evaluate_on(objective, origin, rows, coordinates, "train", (Criterion(),))
    assert not torch.isfinite(found.values[4])
    for i in set(range(11)) - {4}:
        expected = brute_force(objective.double(), points[i], Criterion())
        assert float(found.values[i]) == pytest.approx(expected, rel=1e-5)


def test_the_callers_model_and_the_objectives_are_unchanged():
    objective = build(*REUSED["cnn"])
    before = copy.deepcopy(objective.model.state_dict())
    origin, rows, coordinates, _ = flat(objective, 2)
    evaluate_on(objective, origin, rows, coordinates, "train", MEASURES)
    for model in (objective.model, objective._fast_model):
        assert all(torch.equal(model.state_dict()[n], t) for n, t in before.items())


def test_a_layer_with_a_hook_is_not_reused():
    first, last = nn.Linear(3, 5), nn.Linear(5, 3)
    model = nn.Sequential(first, nn.ReLU(), last)
    names = tuple(name for name, _ in model.named_parameters())
    cut = first_layer(model, names)
    assert cut is not None
    assert cut.chain is not None
    last.register_forward_hook(lambda module, inputs, output: -output)
    later = first_layer(model, names)
    assert later is not None
    assert later.chain is None
    first.register_forward_hook(lambda module, inputs, output: -output)
    assert first_layer(model, names) is None


def test_a_fixed_strategy_is_respected():
    objective = build(*REUSED["mlp"], strategy="vmap")
    origin, rows, coordinates, _ = flat(objective, 1)
    evaluate_on(objective, origin, rows, coordinates, "train", (Criterion(),))
    assert {plan["strategy"] for plan in objective.plans.values()} == {"vmap"}


@pytest.mark.parametrize(
    ("directions", "coordinates"),
    [(torch.zeros(2, 5), torch.zeros(4, 2)), (torch.zeros(1, 59), torch.zeros(4, 2)),
     (torch.zeros(1, 59), torch.zeros(0, 1))],
)  # fmt: skip
def test_shapes_that_do_not_fit_are_refused(directions, coordinates):
    objective = build(lambda: nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 3)), (3,))
    with pytest.raises(InputError, match="coordinates"):
        evaluate_on(objective, torch.zeros(59), directions, coordinates, "train", MEASURES)


def test_relu_goes_behind_the_pooling_and_the_first_pooling_into_the_cut():
    model = Convolutional().eval()
    cut = first_layer(model, tuple(name for name, _ in model.named_parameters()))
    assert cut is not None
    assert cut.window == (2, 3)
    assert cut.chain is None
