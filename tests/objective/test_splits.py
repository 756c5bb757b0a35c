"""Data: every form of it, and every way in which it can be wrong."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from thalweg import Criterion, InputError, Objective

X, Y = torch.linspace(-1, 1, 40)[:, None], torch.linspace(0, 1, 40)[:, None]


def objective(train, loss=functional.mse_loss, **options):
    return Objective(nn.Linear(1, 1), loss, train=train, **options)


class Augmented(TensorDataset):
    def __getitem__(self, index):
        x, y = super().__getitem__(index)
        return x + torch.rand(1), y


def loader(kind=TensorDataset, **options):
    return DataLoader(kind(X, Y), batch_size=7, **options)


@pytest.mark.parametrize("train", [
    (X, Y), [X, Y], ((X,), Y), loader(), loader(shuffle=True),
    [(X[:11], Y[:11]), (X[11:], Y[11:])], [[X, Y]], ([X], Y),
], ids=["pair", "list", "tuple of inputs", "loader", "shuffled loader", "batches", "one batch",
        "list of inputs"])  # fmt: skip
def test_the_same_examples_in_any_form_are_the_same_objective(train):
    theta = torch.tensor([[0.3, -0.2], [1.0, 0.5]])
    values = objective(train).criterion_of(theta).values
    torch.testing.assert_close(values, objective((X, Y)).criterion_of(theta).values)


def test_a_shuffled_loader_gives_the_same_order_and_fingerprint_every_time():
    first, second = (objective(loader(shuffle=True)) for _ in range(2))
    assert first.fingerprints() == second.fingerprints()
    batches = [next(o.minibatches(0))[1] for o in (first, second)]
    assert torch.equal(*batches)


def test_the_fingerprint_depends_on_the_data():
    other = Y.clone()
    other[3] += 1e-3
    assert objective((X, Y)).fingerprints() != objective((X, other)).fingerprints()
    assert objective((X, Y)).fingerprints() == objective((X.clone(), Y.clone())).fingerprints()


@pytest.mark.parametrize(("train", "message"), [
    ((X, Y[:-1]), r"lengths \[40, 39\]"),
    ((X[:0], Y[:0]), "at least one example"),
    ([], "at least one example"),
    (iter([(X, Y)]), "iterated again"),
    (loader(Augmented), "the same examples"),
    (3, "got int"),
    ([X, X, X], "batches"),
    ((X * math.nan, Y), "finite data in split 'train'"),
    ((X, Y + math.inf), "finite data in split 'train'"),
])  # fmt: skip
def test_data_that_cannot_be_used_is_refused_in_words(train, message):
    with pytest.raises(InputError, match=message):
        objective(train)


@pytest.mark.parametrize("train", [
    TensorDataset(X, Y), TensorDataset(X, torch.zeros(40).long()),
    [(X, Y), (torch.zeros(3, 2), Y[:3])], (torch.tensor(1.0), torch.tensor(2.0)),
    [(X, Y), ((X, X), Y)],
], ids=["dataset", "dataset of classes", "widths", "scalars", "inputs"])  # fmt: skip
def test_data_in_a_form_that_has_no_batches_is_refused(train):
    with pytest.raises(InputError, match="'train'"):
        objective(train)


def test_a_loader_that_drops_its_last_batch_at_random_is_refused():
    with pytest.raises(InputError, match="the same examples"):
        objective(loader(shuffle=True, drop_last=True))


def test_data_that_do_not_fit_the_model_are_refused_with_the_reason():
    with pytest.raises(InputError, match="fit the 'train' data, got RuntimeError"):
        objective((torch.zeros(4, 3), torch.zeros(4, 1)))
    with pytest.raises(InputError, match="split 'test' that the criterion names"):
        objective((X, Y), criterion=Criterion(split="test"))


# ------------------------------------------------------------- losses that are no means


class Noisy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def forward(self, inputs):
        return functional.dropout(self.layer(inputs), 0.5, training=True)


def test_a_loss_that_differs_when_evaluated_twice_is_refused():
    with pytest.raises(InputError, match="same value when evaluated twice"):
        Objective(Noisy(), functional.mse_loss, train=(X, Y))


def halfway(model):
    """A model at which the loss is zero: a sum of zeros looks like a mean."""
    with torch.no_grad():
        return model, model(X)


CLASSES = (Y[:, 0] > 0.3).long()


@pytest.mark.parametrize("state", ["random", "zero", "perfect"])
def test_a_sum_over_examples_is_refused_wherever_the_model_stands(state):
    torch.manual_seed(0)
    model = nn.Linear(1, 1)
    if state == "zero":
        nn.init.zeros_(model.weight)
        nn.init.zeros_(model.bias)
    model, perfect = halfway(model)
    target = perfect if state == "perfect" else Y
    with pytest.raises(InputError, match="means over examples"):
        Objective(model, nn.MSELoss(reduction="sum"), train=(X, target))


@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_weights_that_depend_on_the_batch_are_refused(zero, seed):
    """Whatever share of each class falls into one half of the examples."""
    torch.manual_seed(seed)
    model = nn.Linear(1, 2)
    if zero:
        nn.init.zeros_(model.weight)
        nn.init.zeros_(model.bias)
    weighted = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 9.0]))
    with pytest.raises(InputError, match="means over examples"):
        Objective(model, weighted, train=(X, CLASSES), seed=seed)


def test_a_loss_of_another_shape_is_refused():
    with pytest.raises(InputError, match=r"scalar mean or one value an example"):
        objective((X, Y), lambda output, target: (output - target).reshape(2, -1))
