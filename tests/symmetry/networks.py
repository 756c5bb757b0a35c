"""Small networks of every kind whose units can change places, with inputs for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Block(nn.Module):
    """Two convolutions with BatchNorm, and what came in added, by a projection if need be."""

    def __init__(self, into: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(into, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.shortcut = nn.Sequential()
        if stride > 1:
            self.shortcut = nn.Sequential(nn.Conv2d(into, out, 1, stride), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 6, 3, 1, 1), nn.BatchNorm2d(6)
        self.blocks = nn.Sequential(Block(6, 6, 1), Block(6, 8, 2))
        self.out = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(F.relu(self.bn(self.conv(x))))
        return self.out(F.avg_pool2d(x, x.shape[-1]).view(x.size(0), -1))


class PaddedShortcut(nn.Module):
    """A residual sum that reaches only some of the channels: the rest are padded with zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 4, 3, 1, 1), nn.Conv2d(4, 8, 3, 2, 1)
        self.out = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(x))
        x = torch.relu(self.second(x) + F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2)))
        return self.out(x.mean((2, 3)))


class TiedLanguageModel(nn.Module):
    """An embedding that is also the output's weight, and two recurrent layers in between."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(9, 5)
        self.lstm = nn.LSTM(5, 5, 2, batch_first=True)
        self.out = nn.Linear(5, 9)
        self.out.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        hidden, _ = self.lstm(self.embedding(tokens))
        return self.out(hidden)


class TwoWays(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(3, 4, 2, bidirectional=True, batch_first=True)
        self.norm = nn.LayerNorm(8)
        self.out = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.norm(self.gru(x)[0][:, -1]))


class Joined(nn.Module):
    """Two branches side by side, one of which is used again."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(3, 4), nn.Linear(3, 5)
        self.both, self.out = nn.Linear(9, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        left, right = torch.relu(self.left(x)), torch.tanh(self.right(x))
        return self.out(self.both(torch.cat([left, right], 1)) * left)


class LayerScale(nn.Module):
    """Parameters that are used element by element, without a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.randn(4, 6))
        self.scale = nn.Parameter(torch.rand(6) + 0.5)
        self.into, self.out = nn.Linear(3, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.sin((self.into(x) + self.place) * self.scale)).mean(1)


class OneLayerTwice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.into, self.layer, self.out = nn.Linear(3, 5), nn.Linear(5, 5), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.into(x))
        return self.out(torch.tanh(self.layer(torch.tanh(self.layer(x)))))


class TwoActivations(nn.Module):
    """Half of the units pass through another function than the other half."""

    def __init__(self) -> None:
        super().__init__()
        self.into, self.out = nn.Linear(3, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.into(x).chunk(2, dim=1)
        return self.out(torch.cat([torch.relu(left), torch.softmax(right, 1)], 1))


class Gated(nn.Module):
    """A unit stands twice in one layer: as a value and as its gate."""

    def __init__(self) -> None:
        super().__init__()
        self.into, self.out = nn.Linear(3, 10), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.into(x).chunk(2, dim=1)
        return self.out(value * torch.sigmoid(gate))


@dataclass(frozen=True)
class Network:
    """A network, and how large its families of interchangeable units must be."""

    make: Callable[[], nn.Module]
    inputs: Callable[[int], Tensor]
    families: tuple[int, ...]

    def model(self, dtype: torch.dtype = torch.float64) -> nn.Module:
        """With statistics of BatchNorm that are no ones and zeros."""
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = self.make().to(dtype).eval()
            for module in model.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    for tensor in (module.running_mean, module.running_var, module.weight,
                                   module.bias):  # fmt: skip
                        assert tensor is not None
                        tensor.data.uniform_(0.5, 1.5)
            return model

    def data(self, examples: int, dtype: torch.dtype = torch.float64) -> Tensor:
        with torch.random.fork_rng():
            torch.manual_seed(1)
            inputs = self.inputs(examples)
            return inputs.to(dtype) if inputs.is_floating_point() else inputs


def _mlp() -> nn.Module:
    return nn.Sequential(
        nn.Linear(4, 7), nn.ReLU(), nn.Linear(7, 5), nn.LeakyReLU(), nn.Linear(5, 3)
    )


def _flattened() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(3 * 9, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3),
    )  # fmt: skip


def _groups() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 6, 3, groups=2), nn.ReLU(),
        nn.Conv2d(6, 6, 3, groups=6, padding=1), nn.PReLU(6), nn.Flatten(), nn.Linear(96, 2),
    )  # fmt: skip


def _one_dimension() -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(2, 4, 3, padding=1), nn.GELU(), nn.AvgPool1d(2), nn.Conv1d(4, 3, 3),
        nn.GroupNorm(1, 3), nn.Flatten(), nn.Linear(6, 2), nn.LogSoftmax(1),
    )  # fmt: skip


NETWORKS: dict[str, Network] = {
    "mlp": Network(_mlp, lambda n: torch.randn(n, 4), (7, 5)),
    "flattened": Network(_flattened, lambda n: torch.randn(n, 1, 8, 8), (3, 6)),
    "groups": Network(_groups, lambda n: torch.randn(n, 1, 8, 8), (2, 2, 3, 3)),
    "one dimension": Network(_one_dimension, lambda n: torch.randn(n, 2, 8), (4, 3)),
    "residual": Network(Residual, lambda n: torch.randn(n, 3, 6, 6), (6, 6, 8, 8)),
    "padded shortcut": Network(PaddedShortcut, lambda n: torch.randn(n, 2, 6, 6), (4, 4)),
    "tied": Network(TiedLanguageModel, lambda n: torch.randint(0, 9, (n, 6)), (5, 5)),
    "two ways": Network(TwoWays, lambda n: torch.randn(n, 5, 3), (4, 4, 4, 4)),
    "joined": Network(Joined, lambda n: torch.randn(n, 3), (4, 5)),
    "layer scale": Network(LayerScale, lambda n: torch.randn(n, 4, 3), (6,)),
    "two activations": Network(TwoActivations, lambda n: torch.randn(n, 3), (4, 4)),
    "gated": Network(Gated, lambda n: torch.randn(n, 3), (5,)),
    "one layer twice": Network(OneLayerTwice, lambda n: torch.randn(n, 3), (5,)),
}


def tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters by first name, and buffers."""
    named = [*model.named_parameters(), *model.named_buffers()]
    return {name: tensor.detach().clone() for name, tensor in named}


def output(model: nn.Module, own: dict[str, Tensor], inputs: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.func.functional_call(model, own, (inputs,))
