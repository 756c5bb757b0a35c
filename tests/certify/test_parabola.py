"""Models of second order: nothing a recurrent network computes lies outside them."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, NamedTuple

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional

from thalweg import Criterion, Objective
from thalweg.certify import parabola
from thalweg.certify.bisection import prove_segment
from thalweg.certify.enclosure import enclose, evaluate, run, segment_parameters
from thalweg.certify.parabola import Parabola, plus, times

POINTS = torch.linspace(-1, 1, 201, dtype=torch.float64)


class Recurrent(nn.Module):
    """The outputs of a recurrent layer, examples first, states left out."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.layer.batch_first:
            return self.layer(x)[0]
        return self.layer(x.transpose(0, 1))[0].transpose(0, 1)


LAYERS = {
    "lstm": lambda: nn.LSTM(3, 4, 1, batch_first=True),
    "lstm-deep": lambda: nn.LSTM(3, 2, 2),
    "lstm-both-ways": lambda: nn.LSTM(3, 3, 2, bidirectional=True, bias=False),
    "lstm-wide": lambda: nn.LSTM(3, 24, 1, batch_first=True),  # in float32 on wide pieces
    "gru": lambda: nn.GRU(3, 4, 1, batch_first=True),
    "gru-deep": lambda: nn.GRU(3, 3, 2, bias=False),
    "gru-wide": lambda: nn.GRU(3, 24, batch_first=True),
    "rnn": lambda: nn.RNN(3, 4, 2),
    "rnn-relu": lambda: nn.RNN(3, 4, nonlinearity="relu"),
}


def _objective(layer: nn.Module, seed: int, steps: int) -> Objective:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(3, steps, 3, generator=generator, dtype=torch.float64)
    model = Recurrent(layer).double()
    with torch.no_grad():
        target = torch.zeros_like(model(x))
    return Objective(model, functional.mse_loss, train=(x, target))


class Band(NamedTuple):
    """What is known of the outputs along a segment, all parts there."""

    value: torch.Tensor
    slope: torch.Tensor
    remainder: torch.Tensor


def _band(objective: Objective, center: torch.Tensor, slope: torch.Tensor, inputs: Any) -> Band:
    found = run(objective, segment_parameters(objective, center, slope, None), inputs)
    assert found.slope is not None
    assert found.remainder is not None
    return Band(found.value, found.slope, found.remainder)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("width", [0.5, 0.05, 1e-4])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_output_along_a_segment_leaves_its_band(name, width, seed, arithmetic):
    objective = _objective(LAYERS[name](), seed, steps=9)
    generator = torch.Generator().manual_seed(100 + seed)
    center, slope = torch.randn(2, objective.layout.size, generator=generator, dtype=torch.float64)
    center, slope = 0.8 * center, width * slope
    inputs, _ = objective.splits["train"].select(slice(None))
    band = _band(objective, center, slope, inputs)
    assert not band.remainder.isnan().any()
    for s in POINTS:
        tensors = objective.layout.unflatten(center + s * slope)
        exact = functional_call(objective.model, tensors, (inputs,))
        distance = (exact - band.value - s * band.slope).abs()
        assert (distance <= band.remainder).all(), float((distance - band.remainder).max())


def test_float32_is_for_wide_pieces_and_is_charged():
    objective = _objective(nn.LSTM(3, 24, batch_first=True), 0, steps=9)
    generator = torch.Generator().manual_seed(7)
    center, slope = 0.4 * torch.randn(2, objective.layout.size, generator=generator).double()
    inputs, _ = objective.splits["train"].select(slice(None))

    def least(width: float) -> float:
        return float(_band(objective, center, width * slope, inputs).remainder.min())

    assert least(0.02) > 2.0**-22
    assert least(1e-6) < 2.0**-24


@pytest.mark.parametrize("name", ["lstm", "gru", "rnn", "lstm-wide"])
def test_the_band_shrinks_with_the_square_of_the_width(name):
    objective = _objective(LAYERS[name](), 0, steps=9)
    generator = torch.Generator().manual_seed(7)
    center, slope = 0.4 * torch.randn(2, objective.layout.size, generator=generator).double()
    inputs, _ = objective.splits["train"].select(slice(None))
    sizes = [
        float(_band(objective, center, w * slope, inputs).remainder.mean())
        for w in (4e-3, 2e-3, 1e-3)
    ]  # fmt: skip
    for wide, narrow in pairwise(sizes):
        assert 3.8 < wide / narrow < 8.5  # of second order, where not of third


def test_hopelessly_wide_is_infinite_not_undefined():
    objective = _objective(nn.LSTM(3, 4, batch_first=True), 0, steps=40)
    center, slope = 50 * torch.ones(2, objective.layout.size, dtype=torch.float64)
    inputs, _ = objective.splits["train"].select(slice(None))
    band = _band(objective, center, slope, inputs)
    assert not band.remainder.isnan().any()
    assert band.remainder.isinf().any()


def _values(number: Parabola, s: float) -> torch.Tensor:
    return number.parts[0] + s * number.parts[1] + s * s * number.parts[2]


@pytest.mark.parametrize("seed", range(20))
def test_sums_products_and_functions_contain_every_choice_of_errors(seed):
    generator = torch.Generator().manual_seed(seed)

    def number() -> Parabola:
        scale = 10 ** (4 * torch.rand(1, generator=generator).item() - 3)
        noise = scale * torch.rand(50, generator=generator).double()
        v, a, b = scale * torch.randn(3, 50, generator=generator).double()
        return Parabola((v, a, b), noise, noise)

    x, y = number(), number()
    results = {
        "sum": (plus(x, y), lambda a, b: a + b),
        "product": (times(x, y), lambda a, b: a * b),
        "sigmoid": (parabola.sigmoid(x), lambda a, b: torch.sigmoid(a)),
        "tanh": (parabola.tanh(x), lambda a, b: torch.tanh(a)),
    }
    for s in (-1.0, -0.3, 0.0, 0.7, 1.0):
        for _ in range(10):
            e, f = (2 * torch.rand(2, 50, generator=generator) - 1).double()
            a, b = _values(x, s) + e * x.noise, _values(y, s) + f * y.noise
            for name, (found, function) in results.items():
                distance = (function(a, b) - _values(found, s)).abs()
                assert (distance <= found.noise).all(), name


class Language(nn.Module):
    """Scores of the next word."""

    def __init__(self, words: int) -> None:
        super().__init__()
        self.embedding, self.recurrent = nn.Embedding(words, 6), nn.LSTM(6, 8, batch_first=True)
        self.scores = nn.Linear(8, words)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.scores(self.recurrent(self.embedding(tokens))[0]).transpose(1, 2)


def _language(words: int) -> tuple[Objective, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    text = torch.randint(0, 5, (10, 13), generator=generator)
    objective = Objective(
        Language(words).double(), functional.cross_entropy, train=(text[:, :-1], text[:, 1:]),
        criterion=Criterion("perplexity"),
    )  # fmt: skip
    ends = 0.4 * torch.randn(2, objective.layout.size, generator=generator, dtype=torch.float64)
    return objective, ends[0], ends[1]


@pytest.mark.parametrize("words", [5, 500])
def test_a_table_shorter_or_longer_than_the_text_gives_sound_bounds(words):
    objective, a, b = _language(words)
    found = enclose(objective, (a + b) / 2, b - a, 0.02)
    values = [evaluate(objective, (a + b) / 2 + 0.02 * float(s) * (b - a)) for s in POINTS]
    assert max(values) <= found.upper < max(values) * 1.05


def test_a_language_model_is_proved_on_a_segment_between_strangers():
    objective, a, b = _language(5)
    highest = max(evaluate(objective, a + float(t) * (b - a)) for t in (POINTS + 1) / 2)
    found = prove_segment(
        objective, a, b, threshold=highest * 1.05, max_evaluations=400, tolerance=1e-4
    )
    assert found.reason == "proved"
    assert highest <= found.bound <= highest * 1.05
    # The width of the pieces is looked for at the middle, by some examples, not by halving all.
    assert found.samples < 3 * 10 * len(found.pieces)
    assert not math.isinf(found.bound)
