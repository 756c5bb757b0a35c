"""Recurrent layers, unrolled over time: products of gate models."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from thalweg.certify.rules_activation import relu
from thalweg.certify.rules_algebra import add, multiply, subtract
from thalweg.certify.rules_linear import linear
from thalweg.certify.rules_shape import cat, stack
from thalweg.certify.rules_smooth import sigmoid, tanh
from thalweg.certify.taylor import TaylorModel, UnsupportedOperation, as_model, rule

Weights = tuple[Any, Any, Any, Any]


def _lstm_step(x: TaylorModel, state: tuple[Any, ...], weights: Weights) -> tuple[Any, ...]:
    """One step of Hochreiter & Schmidhuber's cell with forget gates; `x` is projected already."""
    h, c = state
    i, f, g, o = add(x, linear(h, weights[1], weights[3])).chunk(4, -1)
    c = add(multiply(sigmoid(f), c), multiply(sigmoid(i), tanh(g)))
    return multiply(sigmoid(o), tanh(c)), c


def _gru_step(x: TaylorModel, state: tuple[Any, ...], weights: Weights) -> tuple[Any, ...]:
    """One step of the gated recurrent unit (Cho et al. 2014), as torch defines it."""
    (h,) = state
    xr, xz, xn = x.chunk(3, -1)
    hr, hz, hn = linear(h, weights[1], weights[3]).chunk(3, -1)
    n = tanh(add(xn, multiply(sigmoid(add(xr, hr)), hn)))
    return (add(n, multiply(sigmoid(add(xz, hz)), subtract(h, n))),)


def _tanh_step(x: TaylorModel, state: tuple[Any, ...], weights: Weights) -> tuple[Any, ...]:
    return (tanh(add(x, linear(state[0], weights[1], weights[3]))),)


def _relu_step(x: TaylorModel, state: tuple[Any, ...], weights: Weights) -> tuple[Any, ...]:
    return (relu(add(x, linear(state[0], weights[1], weights[3]))),)


def _run(
    name: str, step: Any, x: Any, states: tuple[Any, ...], flat: Any, has_biases: bool,
    layers: int, dropout: float, train: bool, bidirectional: bool, batch_first: bool,
) -> tuple[TaylorModel, ...]:  # fmt: skip
    """All layers and directions of a recurrent network.

    Args:
        name: of the torch function, for errors.
        step: from a projected input and states to new states, the first of them the output.
        x: `[time, batch, features]`, or with the first two exchanged if `batch_first`.
        states: initial states `[layers * directions, batch, hidden]`.
        flat: weights of all layers and directions in torch's order.
        has_biases: whether each has two biases.
        layers: number of layers.
        dropout: between layers; must be off.
        train: whether dropout would act.
        bidirectional: whether a second direction runs backward.
        batch_first: see `x`.

    Returns:
        Output, then final states.

    Raises:
        UnsupportedOperation: for packed sequences, projections, or dropout in training mode.
    """
    if not isinstance(x, Tensor) or not isinstance(batch_first, bool) or (train and dropout):
        raise UnsupportedOperation(name, "packed sequences, or dropout in training mode")
    x = as_model(x)
    if batch_first:
        x = as_model(x.transpose(0, 1))
    each = 4 if has_biases else 2
    if len(flat) != each * layers * (2 if bidirectional else 1):
        raise UnsupportedOperation(name, "projections")
    ends: list[list[Any]] = [[] for _ in states]
    cell = 0
    for _ in range(layers):
        outputs = []
        for backward in (False, True) if bidirectional else (False,):
            group = tuple(flat[each * cell : each * (cell + 1)])
            weights = group if has_biases else (*group, None, None)
            state = tuple(as_model(s)[cell] for s in states)
            times = linear(x, weights[0], weights[2]).unbind(0)
            steps = []
            for projected in reversed(times) if backward else times:
                state = step(projected, state, weights)
                steps.append(state[0])
            outputs.append(stack(steps[::-1] if backward else steps))
            for end, last in zip(ends, state, strict=True):
                end.append(last)
            cell += 1
        x = outputs[0] if len(outputs) == 1 else cat(outputs, -1)
    if batch_first:
        x = as_model(x.transpose(0, 1))
    return (x, *(stack(end) for end in ends))


@rule("lstm")
def lstm(x: Any, hx: Any, *rest: Any) -> tuple[TaylorModel, ...]:
    """``torch.lstm``, the function under ``nn.LSTM``."""
    return _run("lstm", _lstm_step, x, tuple(hx), *rest)


@rule("gru")
def gru(x: Any, hx: Any, *rest: Any) -> tuple[TaylorModel, ...]:
    """``torch.gru``, the function under ``nn.GRU``."""
    return _run("gru", _gru_step, x, (hx,), *rest)


@rule("rnn_tanh")
def rnn_tanh(x: Any, hx: Any, *rest: Any) -> tuple[TaylorModel, ...]:
    """``torch.rnn_tanh``, the function under ``nn.RNN``."""
    return _run("rnn_tanh", _tanh_step, x, (hx,), *rest)


@rule("rnn_relu")
def rnn_relu(x: Any, hx: Any, *rest: Any) -> tuple[TaylorModel, ...]:
    """``torch.rnn_relu``, the function under ``nn.RNN(nonlinearity="relu")``."""
    return _run("rnn_relu", _relu_step, x, (hx,), *rest)


@rule("lstm_cell")
def lstm_cell(x: Any, hx: Any, w: Any, u: Any, b: Any = None, c: Any = None) -> tuple[Any, ...]:
    """``torch.lstm_cell``."""
    return _lstm_step(linear(x, w, b), tuple(hx), (w, u, b, c))


@rule("gru_cell")
def gru_cell(x: Any, hx: Any, w: Any, u: Any, b: Any = None, c: Any = None) -> TaylorModel:
    """``torch.gru_cell``."""
    return _gru_step(linear(x, w, b), (as_model(hx),), (w, u, b, c))[0]


@rule("rnn_tanh_cell")
def rnn_tanh_cell(x: Any, hx: Any, w: Any, u: Any, b: Any = None, c: Any = None) -> TaylorModel:
    """``torch.rnn_tanh_cell``."""
    return _tanh_step(linear(x, w, b), (hx,), (w, u, b, c))[0]


@rule("rnn_relu_cell")
def rnn_relu_cell(x: Any, hx: Any, w: Any, u: Any, b: Any = None, c: Any = None) -> TaylorModel:
    """``torch.rnn_relu_cell``."""
    return _relu_step(linear(x, w, b), (hx,), (w, u, b, c))[0]
