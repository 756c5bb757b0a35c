"""A proof of each segment of a string against the fixed 101-point grid that it replaces."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from torch.func import functional_call
from torch.nn.utils import vector_to_parameters

from benchmarks.measure import machine, peak_bytes
from thalweg import Criterion, Greedy, Objective, Training, connect, train
from thalweg.certify import Proved, Span
from thalweg.certify.chunks import chunk_size
from thalweg.certify.enclosure import Segment, in_float64
from thalweg.errors import InputError
from thalweg.tasks import get_task

GRID = 101


@dataclass(frozen=True)
class Case:
    """A problem whose strings are proved.

    Attributes:
        objective: of it.
        initialize: draws a model.
        level: L0.
        alpha: beads are trained to `alpha`·L0.
    """

    objective: Objective
    initialize: Callable[[Generator], nn.Module]
    level: float
    alpha: float = 0.95


class Language(nn.Module):
    """A small recurrent language model: embedding 32, LSTM(32), scores of the next word."""

    def __init__(self, words: int = 50) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, 32)
        self.recurrent = nn.LSTM(32, 32, batch_first=True)
        self.scores = nn.Linear(32, words)

    def forward(self, tokens: Tensor) -> Tensor:
        """From words `[n, t]` to scores `[n, words, t]`."""
        hidden, _ = self.recurrent(self.embedding(tokens))
        return self.scores(hidden).transpose(1, 2)


def run(
    *, rounds: int = 1, seed: int = 0, images: int = 2000, case: str | None = None,
    threshold: float | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Run the benchmark.

    Args:
        rounds: how often each segment is timed; the median counts.
        seed: of endpoints and minibatches.
        images: MNIST images of the criterion of the two image networks.
        case: mlp, convnet or lstm; None: all three.
        threshold: L0 in place of that of the case.

    Raises:
        InputError: if there is no such case.
    """
    cases = {
        "mlp": lambda: _mnist("mnist-mlp", 0.1, images),
        "convnet": lambda: _mnist("mnist-cnn", 0.05, images),
        "lstm": _language,
    }
    if case is not None and case not in cases:
        raise InputError(f"expected a case among {', '.join(cases)}, got '{case}'")
    ratios, ours, reference, memory = {}, {}, {}, {}
    for name in cases if case is None else [case]:
        chosen = cases[name]()
        if threshold is not None:
            chosen = replace(chosen, level=threshold)
        timed = _measure(chosen, rounds, seed)
        ours[name] = timed
        reference[name] = {"seconds": timed.pop("grid_seconds"), "points": GRID}
        bound, plain = timed["peak_bytes"], timed.pop("plain_peak_bytes")
        reference[name]["peak_bytes"] = plain
        memory[f"{name} peak bytes, bound / evaluation"] = bound / plain
        ratios[name] = statistics.median(
            theirs / mine
            for mine, theirs in zip(timed["seconds"], reference[name]["seconds"], strict=True)
        )
    return {
        "name": "proof", "about": "a proof of each segment of a string beside a 101-point grid",
        "ratios": ratios | memory, "ours": ours, "reference": reference,
        "machine": machine(),
    }  # fmt: skip


def _measure(case: Case, rounds: int, seed: int) -> dict[str, Any]:
    """Seconds of a proof, and of a grid, of every segment of one string; memory of one bound."""
    objective, level = case.objective, case.level
    starts = [objective.theta(case.initialize(Generator().manual_seed(seed + i))) for i in range(2)]
    a, b = train(objective, starts, case.alpha * level, seed=seed)
    string = connect(
        objective, a.theta, b.theta, threshold=level, method=Greedy(alpha=case.alpha), seed=seed,
        certificate="sampled",
    )  # fmt: skip
    points = string.path.points
    values = objective.criterion_of(points).values[:, 0].tolist()
    seconds, grid_seconds, full, proved = [], [], [], 0
    examples = len(objective.splits[objective.criterion.split])
    for i in range(len(points) - 1):
        span = Span(points[i], points[i + 1], values[i], values[i + 1], level)
        mine, theirs, accepted = [], [], False
        for _ in range(rounds):
            begin = time.perf_counter()
            (certificate,) = Proved().certify(objective, [span])
            mine.append(time.perf_counter() - begin)
            begin = time.perf_counter()
            _grid(objective, points[i], points[i + 1])
            theirs.append(time.perf_counter() - begin)
            full.append((certificate.samples + certificate.bound_samples) / examples)
            accepted = certificate.accepted
        proved += accepted
        seconds.append(statistics.median(mine))
        grid_seconds.append(statistics.median(theirs))
    return {
        "beads": string.beads, "proved": proved, "seconds": seconds,
        "grid_seconds": grid_seconds, "evaluations_on_all_examples": full,
        **_memory(objective, points),
        "examples": examples, "parameters": objective.layout.size,
    }  # fmt: skip


def _memory(objective: Objective, points: Tensor) -> dict[str, int]:
    """Peaks of a bound on one chunk of examples, and of a float64 evaluation of the same."""
    twin = in_float64(objective)
    segment = Segment(twin, points[0], points[1])
    some = torch.arange(min(chunk_size(twin), segment.total))
    tensors = twin.layout.unflatten(segment.at(0.5))
    inputs, target = twin.splits[twin.criterion.split].select(slice(0, len(some)))
    measure = twin.criterion.per_example(twin.loss)

    def bound() -> None:
        segment.enclose(0.5 - 1e-3, 0.5 + 1e-3, some)

    def evaluate() -> None:
        with torch.no_grad():
            measure(functional_call(twin.model, tensors, (inputs,)), target)

    bound()  # products that all pieces share are kept from here on
    return {"peak_bytes": peak_bytes(bound), "plain_peak_bytes": peak_bytes(evaluate)}


def _grid(objective: Objective, a: Tensor, b: Tensor) -> float:
    """The largest criterion on an even grid, as the reference evaluates it."""
    split = objective.splits[objective.criterion.split]
    inputs, target = split.select(slice(None))
    model = objective.model
    measure = objective.criterion.per_example(objective.loss)
    before = nn.utils.parameters_to_vector(model.parameters()).detach().clone()
    highest = 0.0
    with torch.inference_mode():
        for k in range(GRID):
            t = k / (GRID - 1)
            vector_to_parameters((1 - t) * a + t * b, model.parameters())
            highest = max(highest, float(measure(model(inputs), target).mean()))
    vector_to_parameters(before, model.parameters())
    return highest


def _mnist(name: str, level: float, images: int) -> Case:
    task = get_task(name)
    objective = task.build(None).with_examples({task.criterion.split: images})
    return Case(objective, task.initialize, level, task.alpha)


def _language() -> Case:
    """Sequences of 20 words from a seeded Markov chain of 50 words, 400 of them."""
    generator = Generator().manual_seed(1)
    words, length, sequences = 50, 21, 400
    chances = torch.softmax(2.5 * torch.randn(words, words, generator=generator), 1)
    text = torch.randint(words, (sequences, 1), generator=generator)
    for _ in range(length - 1):
        following = torch.multinomial(chances[text[:, -1]], 1, generator=generator)
        text = torch.cat([text, following], 1)

    def initialize(source: Generator) -> nn.Module:
        model = Language(words)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.uniform_(-0.1, 0.1, generator=source)
        return model

    objective = Objective(
        initialize(Generator().manual_seed(0)),
        F.cross_entropy,
        train=(text[:, :-1], text[:, 1:]),
        criterion=Criterion("perplexity"),
        training=Training("Adam", learning_rate=1e-2, batch_size=100),
        name="language",
    )
    return Case(objective, initialize, 10.0)
