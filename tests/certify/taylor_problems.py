"""A catalogue of small networks, one a rule, and what the tests measure on them."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from thalweg.certify.enclosure import run, segment_parameters
from thalweg.certify.taylor import TaylorModel
from thalweg.objective.criterion import Criterion
from thalweg.objective.splits import Split


class Layout:
    """Flat vectors to named tensors."""

    def __init__(self, model: nn.Module) -> None:
        self._names = [(n, p.shape, p.numel()) for n, p in model.named_parameters()]

    def unflatten(self, theta: Tensor) -> dict[str, Tensor]:
        parts = theta.split([size for _, _, size in self._names])
        return {n: t.reshape(s) for (n, s, _), t in zip(self._names, parts, strict=True)}


def problem(
    model: nn.Module,
    inputs: Any,
    target: Tensor,
    loss: Callable[..., Any] = F.cross_entropy,
    measure: Any = "loss",
) -> Any:
    """What the bounds need of an objective."""
    model = model.double().eval()
    inputs = inputs if isinstance(inputs, tuple) else (inputs,)
    inputs = tuple(x.double() if x.is_floating_point() else x for x in inputs)
    return SimpleNamespace(
        model=model,
        loss=loss,
        criterion=Criterion(measure),
        splits={"train": Split("train", inputs, target)},
        layout=Layout(model),
    )


def flat(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()]).double()


class Net(nn.Module):
    """Affine in its parameters, then a function: the shape of most cases."""

    def __init__(self, function: Callable[[Tensor], Any], shape: tuple[int, ...]) -> None:
        super().__init__()
        self.function = function
        self.weight = nn.Parameter(torch.randn(shape, dtype=torch.float64))
        self.tilt = nn.Parameter(torch.randn(shape, dtype=torch.float64) * 0.5)

    def forward(self, x: Tensor) -> Any:
        return self.function(self.weight * x + self.tilt)


class Pair(nn.Module):
    """A function of two tensors, both affine in the parameters."""

    def __init__(self, function: Callable[..., Any], a: tuple[int, ...], b: tuple[int, ...]):
        super().__init__()
        self.function = function
        self.a = nn.Parameter(torch.randn(a, dtype=torch.float64))
        self.b = nn.Parameter(torch.randn(b, dtype=torch.float64))

    def forward(self, x: Tensor) -> Any:
        return self.function(self.a * x, self.b)


class First(nn.Module):
    """The first of several outputs."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *x: Tensor) -> Tensor:
        return self.module(*x)[0]


class Self(nn.Module):
    """Self-attention."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x, x, x, need_weights=False)[0]


def _norm2d() -> nn.BatchNorm2d:
    layer = nn.BatchNorm2d(3)
    assert layer.running_mean is not None
    assert layer.running_var is not None
    layer.running_mean.normal_()
    layer.running_var.uniform_(0.5, 2)
    return layer


def _unary(function: Callable[[Tensor], Any], shape: tuple[int, ...] = (3, 4)) -> Any:
    return lambda: (Net(function, shape), torch.ones(2, *shape).normal_())


def _layer(make: Callable[[], nn.Module], *shape: int) -> Any:
    return lambda: (make(), torch.randn(2, *shape))


def _deep(make: Callable[[], nn.Module], *shape: int) -> Any:
    """After a layer of the same shape, so that the input depends on the parameters, too."""
    return lambda: (nn.Sequential(Net(lambda y: y, shape), make()), torch.randn(2, *shape))


def _pair(function: Callable[..., Any], a: tuple[int, ...], b: tuple[int, ...]) -> Any:
    return lambda: (Pair(function, a, b), torch.randn(2, *[1] * len(a)).add(2))


def positive(y: Tensor) -> Tensor:
    return y**2 + 0.5


TARGET = torch.tensor([[0, 2, 1, 1], [2, 2, 0, 1]])
MASK = torch.tensor([[0.0, -float("inf"), 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, -float("inf")]])

CASES: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "linear": _layer(lambda: nn.Linear(3, 4), 3),
    "linear-deep": _deep(lambda: nn.Linear(4, 2), 3, 4),
    "bilinear": lambda: (nn.Bilinear(3, 2, 4), (torch.randn(2, 3), torch.randn(2, 2))),
    "conv1d": _deep(lambda: nn.Conv1d(2, 3, 3, stride=2, padding=1), 2, 7),
    "conv2d": _deep(lambda: nn.Conv2d(2, 4, 3, padding="same", dilation=2), 2, 6, 6),
    "conv2d-groups": _deep(lambda: nn.Conv2d(2, 4, 3, groups=2, bias=False), 2, 5, 5),
    "conv2d-first": _layer(lambda: nn.Conv2d(2, 3, 3, stride=2), 2, 6, 6),
    "conv2d-circular": _deep(lambda: nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular"), 2, 5, 5),  # noqa: E501
    "relu": _unary(torch.relu),
    "relu-in-place": _unary(lambda y: F.relu(y + 0.0, inplace=True)),
    "leaky_relu": _unary(lambda y: F.leaky_relu(y, 0.1)),
    "prelu": _deep(lambda: nn.PReLU(3), 3, 4),
    "abs": _unary(torch.abs),
    "relu6": _unary(F.relu6),
    "hardtanh": _unary(F.hardtanh),
    "clamp": _unary(lambda y: y.clamp(-0.5, 0.7)),
    "sigmoid": _unary(torch.sigmoid),
    "tanh": _unary(torch.tanh),
    "softplus": _unary(lambda y: F.softplus(y, beta=2.0)),
    "logsigmoid": _unary(F.logsigmoid),
    "gelu": _unary(F.gelu),
    "gelu-tanh": _unary(lambda y: F.gelu(y, approximate="tanh")),
    "silu": _unary(F.silu),
    "mish": _unary(F.mish),
    "elu": _unary(F.elu),
    "elu-steep": _unary(lambda y: F.elu(y, 2.0)),
    "selu": _unary(F.selu),
    "erf": _unary(torch.erf),
    "sin-cos": _unary(lambda y: torch.sin(y) + torch.cos(2 * y)),
    "hardswish": _unary(F.hardswish),
    "softsign": _unary(F.softsign),
    "exp": _unary(torch.exp),
    "log": _unary(lambda y: torch.log(positive(y))),
    "log1p": _unary(lambda y: torch.log1p(positive(y))),
    "sqrt": _unary(lambda y: torch.sqrt(positive(y))),
    "rsqrt": _unary(lambda y: torch.rsqrt(positive(y))),
    "pow": _unary(lambda y: y**3 - y.pow(4) + positive(y) ** 1.5),
    "reciprocal": _unary(lambda y: 1 / positive(y) - 2 / (-positive(y))),
    "double-well": _unary(lambda y: (y**2 - 1) ** 2),
    "arithmetic": _unary(lambda y: (2 - y) * y / 3 + (1 - 3 * y) - (-y)),
    "division": _pair(lambda a, b: a / positive(b), (3, 4), (3, 4)),
    "broadcast": _pair(lambda a, b: a * b + b, (3, 4), (4,)),
    "sum-mean": _unary(lambda y: y.sum(-1) * y.mean(1, keepdim=True).sum(2) + y.mean()),
    "var": _unary(lambda y: y.var(-1)),
    "cumsum": _unary(lambda y: y.cumsum(-1) ** 2),
    "norm": _unary(lambda y: y.norm(dim=-1) + F.normalize(y, dim=-1).sum(-1)),
    "matmul": _pair(torch.matmul, (3, 4), (4, 2)),
    "operator-matmul": _pair(lambda a, b: a @ b.T, (3, 4), (2, 4)),
    "bmm": _pair(lambda a, b: torch.bmm(a, b.expand(2, 4, 2)), (3, 4), (4, 2)),
    "einsum": _pair(lambda a, b: torch.einsum("nij,jk->nik", a, b), (3, 4), (4, 2)),
    "einsum-one": _unary(lambda y: torch.einsum("nij->nj", y)),
    "maximum": _pair(torch.maximum, (3, 4), (3, 4)),
    "minimum": _pair(torch.minimum, (3, 4), (3, 4)),
    "amax": _unary(lambda y: y.amax(-1) + y.min(dim=1).values.sum(-1, keepdim=True)),
    "max-all": _unary(lambda y: y.max() - y.amin()),
    "max_pool1d": _unary(lambda y: F.max_pool1d(y, 2)),
    "max_pool2d": _unary(lambda y: F.max_pool2d(y, 2), (2, 4, 4)),
    "max_pool2d-overlap": _unary(lambda y: F.max_pool2d(y, 3, 2, 1), (2, 5, 5)),
    "max_pool2d-ceil": _unary(lambda y: F.max_pool2d(y, 2, 2, ceil_mode=True), (2, 5, 5)),
    "max_pool2d-dilation": _unary(lambda y: F.max_pool2d(y, 2, 1, 0, 2), (2, 5, 5)),
    "avg_pool1d": _unary(lambda y: F.avg_pool1d(y, 2)),
    "avg_pool2d": _unary(lambda y: F.avg_pool2d(y, 3, 2, 1), (2, 5, 5)),
    "adaptive_avg_pool2d": _unary(lambda y: F.adaptive_avg_pool2d(y, (2, 3)), (2, 5, 5)),
    "batch_norm": _deep(_norm2d, 3, 2, 2),
    "layer_norm": _deep(lambda: nn.LayerNorm(4), 3, 4),
    "group_norm": _deep(lambda: nn.GroupNorm(2, 4), 4, 3),
    "local_response_norm": _unary(lambda y: F.local_response_norm(y, 3, 0.5), (4, 2, 2)),
    "weight_norm": _layer(lambda: nn.utils.parametrizations.weight_norm(nn.Linear(3, 2)), 3),
    "dropout-off": _deep(lambda: nn.Dropout(0.5), 3, 4),
    "shapes": _unary(
        lambda y: torch.cat([
            y.flatten(1)[:, :6], y.permute(0, 2, 1).reshape(y.size(0), -1)[:, 2:8],
            torch.stack(y.unbind(1), -1).view(y.shape[0], -1), y.transpose(1, 2).flatten(1),
            y.unsqueeze(1).squeeze(1).chunk(2, -1)[1].reshape(2, -1), y.split(2, 1)[0].flatten(1),
            y[:, 0].expand(2, 4), y[..., [0, 2]].flatten(1), F.pad(y, (1, 1)).flatten(1),
        ], dim=1) ** 2
    ),
    "where-mask": _unary(lambda y: y.masked_fill(torch.eye(3, 4).bool(), 2.0) ** 2),
    "embedding": lambda: (
        nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 2)), torch.tensor([[0, 1], [4, 1]])
    ),
    "softmax": _unary(lambda y: torch.softmax(y, -1)),
    "log_softmax": _unary(lambda y: F.log_softmax(y, 1)),
    "logsumexp": _unary(lambda y: torch.logsumexp(y, -1)),
    "attention": _pair(
        lambda a, b: F.scaled_dot_product_attention(a, b.expand(2, 3, 4), a + 1), (3, 4), (3, 4)
    ),
    "attention-causal": _unary(
        lambda y: F.scaled_dot_product_attention(y, y, y, is_causal=True), (3, 4)
    ),
    "attention-mask": _unary(
        lambda y: F.scaled_dot_product_attention(y, y, y, attn_mask=MASK.to(y.dtype)), (3, 4)
    ),
    "multi-head": _layer(Self, 3, 4),
    "transformer": _layer(
        lambda: nn.TransformerEncoderLayer(4, 2, 6, batch_first=True, dropout=0.0), 3, 4
    ),
    "lstm": _layer(lambda: First(nn.LSTM(3, 2, 2, batch_first=True)), 3, 3),
    "lstm-bidirectional": _layer(lambda: First(nn.LSTM(3, 2, bidirectional=True)), 3, 3),
    "gru": _layer(lambda: First(nn.GRU(3, 2, batch_first=True, bias=False)), 3, 3),
    "rnn": _layer(lambda: First(nn.RNN(3, 2)), 3, 3),
    "rnn-relu": _layer(lambda: First(nn.RNN(3, 2, nonlinearity="relu")), 3, 3),
    "lstm-cell": _layer(lambda: First(nn.LSTMCell(3, 2)), 3),
    "gru-cell": _layer(lambda: nn.GRUCell(3, 2), 3),
    "cross_entropy": _unary(lambda y: F.cross_entropy(y, TARGET)),
    "cross_entropy-none": _unary(lambda y: F.cross_entropy(y, TARGET, reduction="none")),
    "cross_entropy-weighted": _unary(
        lambda y: F.cross_entropy(y, TARGET, torch.tensor([0.5, 2.0, 1.0]).to(y), ignore_index=1)
    ),
    "cross_entropy-smooth": _unary(lambda y: F.cross_entropy(y, TARGET, label_smoothing=0.1)),
    "cross_entropy-soft": _unary(
        lambda y: F.cross_entropy(y, torch.full((2, 3, 4), 1 / 3, dtype=y.dtype))
    ),
    "nll_loss": _unary(lambda y: F.nll_loss(F.log_softmax(y, 1), TARGET)),
    "nll_loss-plain": _unary(lambda y: F.nll_loss(y, TARGET)),
    "mse_loss": _unary(lambda y: F.mse_loss(y, torch.ones(2, 3, 4, dtype=y.dtype))),
    "l1_loss": _unary(lambda y: F.l1_loss(y, torch.ones(2, 3, 4, dtype=y.dtype))),
    "smooth_l1_loss": _unary(lambda y: F.smooth_l1_loss(y, torch.ones_like(MASK[0, 0]).to(y).expand(2, 3, 4))),  # noqa: E501
    "huber_loss": _unary(lambda y: F.huber_loss(y, torch.ones(2, 3, 4, dtype=y.dtype), delta=0.5)),
    "bce": _unary(
        lambda y: F.binary_cross_entropy_with_logits(y, torch.full((2, 3, 4), 0.3, dtype=y.dtype))
    ),
    "bce-weighted": _unary(
        lambda y: F.binary_cross_entropy_with_logits(
            y, torch.eye(3, 4, dtype=y.dtype).expand(2, 3, 4), pos_weight=torch.tensor(2.5).to(y)
        )
    ),
    "kl_div": _unary(
        lambda y: F.kl_div(
            F.log_softmax(y, -1), torch.full((2, 3, 4), 0.25, dtype=y.dtype), reduction="batchmean"
        )
    ),
}  # fmt: skip


def case(name: str, seed: int) -> tuple[Any, Tensor, Tensor]:
    """A problem, a centre and a direction."""
    torch.manual_seed(seed)
    model, inputs = CASES[name]()
    made = problem(model, inputs, torch.zeros(2))
    made.inputs = tuple(
        x.double() if x.is_floating_point() else x
        for x in (inputs if isinstance(inputs, tuple) else (inputs,))
    )
    center = flat(model)
    return made, center, torch.randn_like(center)


def enclosed(made: Any, center: Tensor, direction: Tensor, halfwidth: float) -> TaylorModel:
    """Model of the output."""
    with torch.no_grad():
        return run(made, segment_parameters(made, center, direction * halfwidth, None), made.inputs)


def output(made: Any, theta: Tensor) -> Tensor:
    with torch.no_grad():
        return functional_call(made.model, made.layout.unflatten(theta), made.inputs)
