"""Penn Treebank, word by word, with the paper's recurrent network.

Freeman & Bruna 2017, Section 4.3; what the paper leaves open follows the published runs
(``docs/protocol.md``), which follow TensorFlow's PTB tutorial of that time ("small").
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from thalweg.objective import Criterion, Objective, Training
from thalweg.tasks.datasets import read_ptb
from thalweg.tasks.task import Task, drawn, form

_CRITERION = Criterion("perplexity", split="test")
_STEPS = 20
# The published loss is a sum over the words of a sequence, ours a mean: a step of 1 down a gradient
# cut off at 5 there is this one here.
_TRAINING = Training(
    optimizer="SGD", learning_rate=1.0 * _STEPS, batch_size=20, max_gradient_norm=5.0 / _STEPS
)
_WORDS = 10_000
_SMALL_WORDS = 500
_SMALL_SEQUENCES = (2_000, 400)


class LanguageModel(nn.Module):
    """Scores of the next word: an embedding, LSTM layers, a linear layer.

    The state is zero at the start of every sequence and carried within it. Of the two biases that
    PyTorch's LSTM adds up, one is frozen at zero: together they have one effect.

    Args:
        words: in the vocabulary.
        width: of the embedding and of each layer.
        layers: of the LSTM.

    Example:
        >>> model = LanguageModel(50, 8, 1)
        >>> model(torch.zeros(3, 20, dtype=torch.int64)).shape
        torch.Size([3, 50, 20])
    """

    def __init__(self, words: int, width: int, layers: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, width)
        self.recurrent = nn.LSTM(width, width, layers, batch_first=True)
        self.scores = nn.Linear(width, words)
        for name, parameter in self.recurrent.named_parameters():
            if name.startswith("bias_hh"):
                parameter.requires_grad_(False)
                nn.init.zeros_(parameter)

    def forward(self, tokens: Tensor) -> Tensor:
        """From words `[n, t]` to scores `[n, words, t]`."""
        hidden, _ = self.recurrent(self.embedding(tokens))
        # The layer hands on a transposed view, for which torch multiplies three times as slowly.
        return self.scores(hidden.contiguous()).transpose(1, 2)


def ptb_lstm(*, small: bool = False) -> Task:
    """Make the paper's Penn Treebank task: two LSTM layers of 200, 4,651,600 parameters.

    The text is cut into sequences of 20 words, each with the words that follow as its target; the
    state is carried within a sequence and zero at its start. The published runs halved the learning
    rate every epoch after the fourth; here it stays, which ends training earlier and at somewhat
    higher perplexities than they reached.

    Args:
        small: one layer of 32 on the 500 most frequent words (all others are one word), on 2,000
            and 400 sequences.

    Returns:
        The task.

    Example:
        >>> ptb_lstm().criterion.name, ptb_lstm().criterion.split
        ('perplexity', 'test')
    """
    words, width, layers = (_SMALL_WORDS, 32, 1) if small else (_WORDS, 200, 2)
    name = form("ptb-lstm", small=small)
    initialize = partial(_initialize, words, width, layers)

    def build(data_dir: Path | None) -> Objective:
        train, test = _numbers(read_ptb("train", data_dir), read_ptb("test", data_dir), words)
        train, test = _sequences(train), _sequences(test)
        if small:
            train, test = (
                tuple(tensor[:count] for tensor in split)
                for split, count in zip((train, test), _SMALL_SEQUENCES, strict=True)
            )
        return Objective(
            initialize(Generator().manual_seed(0)), F.cross_entropy, train=train, test=test,
            criterion=_CRITERION, training=_TRAINING, name=name,
        )  # fmt: skip

    return Task(
        name=name,
        summary="the next word of Penn Treebank by the paper's recurrent network",
        source="Freeman & Bruna 2017, Section 4.3",
        architecture=f"embedding {width}, {layers} x LSTM({width}), {words:,} words",
        criterion=_CRITERION,
        training=_TRAINING,
        thresholds=(55.0, 60.0, 70.0, 90.0)
        if small
        else (135.0, 150.0, 200.0, 250.0, 300.0, 700.0),
        default_threshold=70.0 if small else 300.0,
        alpha=0.98,
        t_star="half",
        # A proof at the paper's width takes hours to days a segment (docs/performance.md).
        certificate="proved" if small else "sampled",
        needs_data=True,
        build=build,
        initialize=initialize,
    )


def _initialize(words: int, width: int, layers: int, generator: Generator) -> nn.Module:
    def draw(name: str, tensor: Tensor) -> None:
        if name.startswith("recurrent.bias_hh"):
            tensor.zero_()
        else:
            tensor.uniform_(-0.1, 0.1, generator=generator)

    return drawn(partial(LanguageModel, words, width, layers), draw)


def _numbers(train: list[str], test: list[str], words: int) -> tuple[Tensor, Tensor]:
    """Numbers of words, the most frequent first (ties by spelling), the last for all others."""
    counts: dict[str, int] = {}
    for word in train:
        counts[word] = counts.get(word, 0) + 1
    ordered = sorted(counts, key=lambda word: (-counts[word], word))[:words]
    number = {word: i for i, word in enumerate(ordered)}
    rest = words - 1
    return tuple(torch.tensor([number.get(word, rest) for word in text]) for text in (train, test))  # pyright: ignore[reportReturnType]  # two texts, two tensors


def _sequences(numbers: Tensor) -> tuple[Tensor, Tensor]:
    """Words `[n, 20]` and the words that follow each; what is left over at the end is not used."""
    count = (len(numbers) - 1) // _STEPS
    inputs = numbers[: count * _STEPS].reshape(count, _STEPS)
    return inputs, numbers[1 : count * _STEPS + 1].reshape(count, _STEPS)
