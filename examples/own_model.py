"""A problem of your own: a small convolutional network with BatchNorm and dropout.

``problem`` is all that Thalweg needs to know: a function without arguments that returns an
``Objective``. Run as a script, this file trains two checkpoints in plain PyTorch, one saved by
``torch.save``, one as safetensors; Thalweg has no part in that.

    python examples/own_model.py
    thalweg connect a.pt b.safetensors --problem examples/own_model.py:problem --threshold 0.05
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from torch import Tensor, nn

import thalweg


def network() -> nn.Module:
    """An untrained network: 8×8 images in, ten classes out."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(8 * 4 * 4, 32),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Linear(32, 10),
    )


def data() -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Handwritten digits: the first 1,400 to train with, the other 397 to test with."""
    pixels, labels = load_digits(return_X_y=True)
    x = torch.tensor(pixels, dtype=torch.float32).reshape(-1, 1, 8, 8) / 16
    y = torch.tensor(labels)
    return (x[:1400], y[:1400]), (x[1400:], y[1400:])


def problem() -> thalweg.Objective:
    """What Thalweg is to work on: a model, its loss, the data, the criterion."""
    train, test = data()
    return thalweg.Objective(
        network(),
        F.cross_entropy,
        train=train,
        test=test,
        criterion=thalweg.Criterion("loss", split="train"),
        training=thalweg.Training(optimizer="Adam", learning_rate=3e-3, batch_size=100),
        name="own-model",
    )


def untrained(generator: torch.Generator) -> nn.Module:
    """A network drawn from a generator: what a study of many pairs needs, see own_study.toml."""
    with torch.random.fork_rng():
        torch.manual_seed(generator.initial_seed())
        return network()


def trained(seed: int, epochs: int = 15) -> nn.Module:
    """A network trained as one trains networks."""
    torch.manual_seed(seed)
    model, ((x, y), _) = network(), data()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(epochs):
        for batch in torch.randperm(len(x)).split(100):
            optimizer.zero_grad()
            F.cross_entropy(model(x[batch]), y[batch]).backward()
            optimizer.step()
    return model.eval()


if __name__ == "__main__":
    torch.save(trained(seed=0).state_dict(), "a.pt")
    save_file(trained(seed=1).state_dict(), "b.safetensors")
    print("written: a.pt, b.safetensors")
