"""Sums of errors carried back through a recurrent network: never above their bounds."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from thalweg import Criterion, Objective
from thalweg.certify.adjoint import of_rows
from thalweg.certify.chunks import chunk_size
from thalweg.certify.enclosure import (
    enclose,
    evaluate,
    run,
    segment_parameters,
    tally,
)
from thalweg.certify.parabola import Parabola
from thalweg.certify.rules_criterion import LossTally, Settled

POINTS = torch.linspace(-1, 1, 41, dtype=torch.float64)


class Network(nn.Module):
    """A recurrent layer, what is done to its outputs, scores."""

    def __init__(self, layer: nn.Module, width: int, after: str = "all") -> None:
        super().__init__()
        self.layer, self.scores, self.after = layer, nn.Linear(width, 3), after

    def forward(self, x: Tensor) -> Tensor:
        if self.after == "reversed rows":
            x = x.flip(0)
        out = self.layer(x if self.layer.batch_first else x.transpose(0, 1))[0]
        if not self.layer.batch_first:
            out = out.transpose(0, 1)
        if self.after == "last":
            return self.scores(out[:, -1])
        if self.after == "twice":
            out = torch.cat([out, out], 1)
        if self.after == "repeated":
            out = out[:, [0, 1, 1, 2]]
        if self.after == "reversed rows":
            out = out.flip(0)
        return self.scores(out).transpose(1, 2)


NETWORKS = {
    "lstm": lambda: Network(nn.LSTM(2, 4, batch_first=True), 4),
    "lstm last": lambda: Network(nn.LSTM(2, 4, batch_first=True), 4, "last"),
    "lstm twice": lambda: Network(nn.LSTM(2, 4, batch_first=True), 4, "twice"),
    "lstm repeated": lambda: Network(nn.LSTM(2, 4), 4, "repeated"),
    "lstm reversed rows": lambda: Network(nn.LSTM(2, 4, batch_first=True), 4, "reversed rows"),
    "lstm deep": lambda: Network(nn.LSTM(2, 3, 2), 3),
    "lstm both ways": lambda: Network(nn.LSTM(2, 3, bidirectional=True, batch_first=True), 6),
    "lstm wide": lambda: Network(nn.LSTM(2, 24, batch_first=True), 24),
    "gru": lambda: Network(nn.GRU(2, 4, batch_first=True), 4),
    "gru both ways": lambda: Network(nn.GRU(2, 3, 2, bidirectional=True), 6),
    "rnn": lambda: Network(nn.RNN(2, 4, batch_first=True), 4),
    "rnn relu": lambda: Network(nn.RNN(2, 4, batch_first=True, nonlinearity="relu"), 4),
}


def _objective(name: str, seed: int, examples: int = 6, steps: int = 7) -> Objective:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(examples, steps, 2, generator=generator, dtype=torch.float64)
    model = NETWORKS[name]().double()
    with torch.no_grad():
        shape = model(x).argmax(1).shape
    target = torch.randint(0, 3, shape, generator=generator)
    return Objective(model, functional.cross_entropy, train=(x, target))


def _line(objective: Objective, seed: int, width: float) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(100 + seed)
    ends = torch.randn(2, objective.layout.size, generator=generator, dtype=torch.float64)
    return 0.7 * ends[0], width * ends[1]


def _second(objective: Objective, center: Tensor, slope: Tensor) -> Parabola:
    inputs, _ = objective.splits["train"].select(slice(None))
    with torch.no_grad():
        found = run(objective, segment_parameters(objective, center, slope, None), inputs)
    if found.second is None:
        pytest.fail("the scores lost their term in s²")
    return found.second


@pytest.mark.parametrize("name", [n for n in NETWORKS if "twice" not in n])
@pytest.mark.parametrize("seed", range(3))
def test_no_sum_of_errors_exceeds_its_bound(name, seed, arithmetic):
    objective = _objective(name, seed)
    center, slope = _line(objective, seed, 0.04)
    scores = _second(objective, center, slope)
    inputs, _ = objective.splits["train"].select(slice(None))
    generator = torch.Generator().manual_seed(seed)
    g = torch.randn(scores.noise.shape, generator=generator, dtype=torch.float64)
    assert scores.trace is not None
    moved = scores.over(lambda part: part.flatten(1))
    assert moved.trace is not None
    plain = (g.abs() * scores.noise).flatten(1).sum(-1)
    bound = of_rows(moved.trace, g.flatten(1), moved.noise)
    if name == "lstm reversed rows":
        assert bound is None  # example i is not row i of the layer
        bound = plain
    assert bound is not None
    assert (bound <= plain * (1 + 1e-9)).all()
    if name == "lstm":
        assert (bound < 0.9 * plain).all()  # signs are worth something
    for s in POINTS:
        tensors = objective.layout.unflatten(center + s * slope)
        exact = functional_call(objective.model, tensors, (inputs,))
        error = exact - scores.parts[0] - s * scores.parts[1] - s * s * scores.parts[2]
        assert (error.abs() <= scores.noise).all()
        assert ((g * error).flatten(1).sum(-1).abs() <= bound).all()


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("kind", ["loss", "perplexity", "error_rate"])
@pytest.mark.parametrize("width", [0.2, 0.02])
def test_no_criterion_along_a_segment_exceeds_its_bound(name, kind, width, arithmetic):
    for seed in range(3):
        objective = _objective(name, seed)
        objective = Objective(
            objective.model, functional.cross_entropy,
            train=objective.splits["train"].select(slice(None)), criterion=Criterion(kind),
        )  # fmt: skip
        center, slope = _line(objective, seed, 1.0)
        found = enclose(objective, center, slope, width)
        values = [evaluate(objective, center + width * float(s) * slope) for s in POINTS]
        ulp = 1e-15 if kind == "error_rate" else 0.0  # of a share, counted in another order
        assert max(values) <= found.upper + ulp
        assert found.seen - ulp <= values[len(values) // 2] <= found.middle + ulp


@pytest.mark.parametrize("name", ["lstm", "lstm reversed rows", "lstm last", "gru"])
def test_each_example_alone_stays_below_its_own_bound(name, arithmetic):
    objective = _objective(name, 0)
    center, slope = _line(objective, 0, 0.03)
    parameters = segment_parameters(objective, center, slope, None)
    ids = torch.arange(6)
    found = tally(
        objective, lambda chunk: parameters, ids, Settled(), 6, chunk_size(objective),
        separable=True,
    )  # fmt: skip
    assert isinstance(found, LossTally)
    value, tilt, curve, noise = (torch.cat(part) for part in zip(*found._parts, strict=True))
    inputs, target = objective.splits["train"].select(slice(None))
    for s in POINTS:
        tensors = objective.layout.unflatten(center + s * slope)
        scores = functional_call(objective.model, tensors, (inputs,))
        losses = functional.cross_entropy(scores, target, reduction="none")
        losses = losses.reshape(6, -1).mean(-1)
        assert ((losses - value - s * tilt - s * s * curve).abs() <= noise).all()


def test_halves_of_a_settled_parabola_are_the_parabola():
    whole = Settled(1.0, 0.5, -2.0, 0.1)
    for side in (-1, 1):
        half = whole.on_half(side, 0.25)
        for s in POINTS.tolist():
            t = 0.5 * side + 0.5 * s
            here = half.value + half.slope * s + half.curve * s * s
            assert here == pytest.approx(1 + 0.5 * t - 2 * t * t)
    # The vertex of 1 + s/2 − 2 s² lies at s = 1/8.
    assert whole.upper == pytest.approx(1 + 1 / 32 + 0.1)
    assert Settled(1.0, 5.0, -2.0, 0.0).upper == pytest.approx(4.0)
    assert Settled(1.0, -5.0, 2.0, 0.0).upper == pytest.approx(8.0)
