"""Losses of sequences: the same numbers, wherever the classes lie in memory."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from thalweg import Objective
from thalweg.objective.criterion import by_rows


@pytest.mark.parametrize(
    "loss",
    [functional.cross_entropy, nn.CrossEntropyLoss(), nn.CrossEntropyLoss(ignore_index=-1),
     nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 0.5, 1.0])), functional.mse_loss],
)  # fmt: skip
@pytest.mark.parametrize("last", [True, False])
def test_values_and_gradients_are_those_of_the_loss_itself(loss, last):
    generator = torch.Generator().manual_seed(0)
    shape = (3, 5, 4) if last else (3, 4, 5)
    scores = torch.randn(shape, generator=generator, requires_grad=True)
    output = scores.transpose(1, 2) if last else scores
    target = torch.randint(0, 4, (3, 5), generator=generator)
    if loss is functional.mse_loss:
        target = torch.randn(3, 4, 5, generator=generator)
    elif getattr(loss, "ignore_index", 0) == -1:
        target[0, 1] = -1
    got, expected = by_rows(loss)(output, target), loss(output, target)
    torch.testing.assert_close(got, expected)
    (mine,) = torch.autograd.grad(got, scores, retain_graph=True)
    (theirs,) = torch.autograd.grad(expected, scores)
    torch.testing.assert_close(mine, theirs)


def test_probabilities_as_targets_stay_as_they_are():
    scores, target = torch.randn(2, 3, 4).transpose(1, 2), torch.full((2, 4, 3), 0.25)
    expected = functional.cross_entropy(scores, target)
    assert torch.equal(by_rows(functional.cross_entropy)(scores, target), expected)


class Tagger(nn.Module):
    """Scores of a class for every word."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.scores = nn.Embedding(7, 3), nn.Linear(3, 4)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        return self.scores(self.embedding(words)).transpose(1, 2)


@pytest.mark.parametrize("strategy", ["loop", "vmap", "threads"])
def test_every_strategy_evaluates_a_sequence_like_the_model(strategy):
    generator = torch.Generator().manual_seed(0)
    words = torch.randint(0, 7, (6, 5), generator=generator)
    target = torch.randint(0, 4, (6, 5), generator=generator)
    model = Tagger()
    objective = Objective(model, functional.cross_entropy, train=(words, target), strategy=strategy)
    stack = torch.randn(2, objective.layout.size, generator=generator)
    gradients = objective.gradients(stack, (words, target)).gradients
    for i, row in enumerate(stack):
        theta = row.clone().requires_grad_()
        tensors = objective.layout.unflatten(theta)
        loss = functional.cross_entropy(torch.func.functional_call(model, tensors, words), target)
        value = objective.criterion_of(row[None]).values.item()
        assert value == pytest.approx(loss.item(), rel=1e-5)
        torch.testing.assert_close(gradients[i], torch.autograd.grad(loss, theta)[0])
