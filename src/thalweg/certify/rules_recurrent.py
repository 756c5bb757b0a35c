"""Recurrent layers, unrolled over time, by models of second order.

In float32 on wide pieces, where what that rounds is little beside the terms that become noise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from thalweg.certify.adjoint import Step, Unroll, unrolled
from thalweg.certify.jacobians import Passage, blocks_of
from thalweg.certify.parabola import (
    Parabola,
    affine,
    gates_of,
    joined,
    negative,
    plus,
    recur,
    second_order,
    sigmoid,
    tanh,
    tightened,
    times,
)
from thalweg.certify.parabola_loops import sums_of_gates
from thalweg.certify.rules_activation import relu
from thalweg.certify.taylor import TaylorModel, UnsupportedOperation, as_model, rule

Numbers = Sequence[Parabola]
Weights = tuple[Any, Any, Any, Any]

WIDE = 2.0**-7
"""Change of a weight over half of a piece, at its largest, from which float32 is enough."""


Close = Callable[[Parabola], Parabola]


@dataclass(frozen=True)
class Cell:
    """What a recurrent layer does at every step.

    Attributes:
        gates: numbers a unit that the weights make.
        step: from the projected inputs and what the recurrent weights make of the first state, both
            blocks `[gates, 5, n, m]`, and the states, to the new states, the output first. What it
            is handed last tightens the noise of a number by what that knows of its origin.
    """

    gates: int
    step: Callable[[Tensor, Tensor, Numbers, Close], Numbers]


def _lstm_step(x: Tensor, recurrent: Tensor, states: Numbers, close: Close) -> Numbers:
    """One step of Hochreiter & Schmidhuber's cell with forget gates."""
    i, f, g, o = gates_of(sums_of_gates(x, recurrent))
    c = close(plus(times(sigmoid(f), states[1]), times(sigmoid(i), tanh(g))))
    return close(times(sigmoid(o), tanh(c))), c


def _gru_step(x: Tensor, recurrent: Tensor, states: Numbers, close: Close) -> Numbers:
    """One step of the gated recurrent unit (Cho et al. 2014), as torch defines it."""
    (r, z), (_, _, hn) = gates_of(sums_of_gates(x[:2], recurrent[:2])), gates_of(recurrent)
    n = tanh(plus(Parabola.laid(x[2]), times(sigmoid(r), hn)))
    return (close(plus(n, times(sigmoid(z), plus(states[0], negative(n))))),)


def _tanh_step(x: Tensor, recurrent: Tensor, states: Numbers, close: Close) -> Numbers:
    return (close(tanh(*gates_of(sums_of_gates(x, recurrent)))),)


def _relu_step(x: Tensor, recurrent: Tensor, states: Numbers, close: Close) -> Numbers:
    (y,) = gates_of(sums_of_gates(x, recurrent))
    return (close(Parabola.of(relu(y.model())).to(y.noise.dtype)),)


_LSTM, _GRU = Cell(4, _lstm_step), Cell(3, _gru_step)
_TANH, _RELU = Cell(1, _tanh_step), Cell(1, _relu_step)


def _advance(
    cell: Cell, projected: Tensor, states: Numbers, weights: Weights, before: Passage | None
) -> tuple[Numbers, Step, Passage]:
    """One step, from projected inputs `[gates, 5, n, m]`; it may look back over the one before."""
    weight, bias = as_model(weights[1]), weights[3]
    begun = [state.state(number) for number, state in enumerate(states)]
    recurrent = recur(begun[0], weight, None if bias is None else as_model(bias), cell.gates)
    noise = [state.noise for state in states]
    passage = Passage(weight, cell.gates, noise, recurrent[:, 3], before)
    new = cell.step(projected, recurrent, begun, lambda number: tightened(number, passage))
    passage.end([state.end for state in new if state.end is not None])
    step = Step.of(passage, [state.factors for state in new], [state.fresh for state in new])
    return [state.renewed() for state in new], step, passage


def _project(x: Parabola | _Words, weights: Weights, gates: int) -> Callable[[int], Tensor]:
    """Blocks `[gates, 5, n, m]` of what the input weights make of the inputs, by step."""
    weight, bias = as_model(weights[0]), weights[2]
    bias = None if bias is None else as_model(bias)
    if isinstance(x, _Words):
        table, places = affine(x.table, weight, bias).gates(gates), x.places
        return lambda t: table.index_select(-2, places[t])
    found = affine(x, weight, bias)
    return lambda t: found.over(lambda part: part[t]).gates(gates)


@dataclass(frozen=True)
class _Words:
    """Inputs that are rows of a small table.

    Attributes:
        table: `[words, features]`.
        places: `[time, batch]`, which row stands where.
    """

    table: Parabola
    places: Tensor

    def to(self, dtype: torch.dtype) -> _Words:
        """With the table in another type."""
        return replace(self, table=self.table.to(dtype))


def _begin(x: TaylorModel, *, batch_first: bool) -> Parabola | _Words:
    """Inputs with time first; as a table where that is shorter than the text."""
    table, places = x.cache.get("table", (None, None))
    if table is not None and len(table.value) < places.numel():
        return _Words(Parabola.of(table), places.transpose(0, 1) if batch_first else places)
    numbers = Parabola.of(x).renewed()  # nobody goes back through a layer to the one below
    return numbers.over(lambda part: part.transpose(0, 1)) if batch_first else numbers


def _run(
    name: str, cell: Cell, x: Any, states: tuple[Any, ...], flat: Any, has_biases: bool,
    layers: int, dropout: float, train: bool, bidirectional: bool, batch_first: bool,
) -> tuple[TaylorModel, ...]:  # fmt: skip
    """All layers and directions of a recurrent network.

    Args:
        name: of the torch function, for errors.
        cell: of every layer.
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
    each = 4 if has_biases else 2
    if len(flat) != each * layers * (2 if bidirectional else 1):
        raise UnsupportedOperation(name, "projections")
    dtype = _precision([as_model(weight) for weight in flat[1::each]], cell.gates)
    given = _begin(as_model(x), batch_first=batch_first).to(dtype)
    begin = [Parabola.of(as_model(state)).to(dtype) for state in states]
    ends: list[list[Parabola]] = [[] for _ in states]
    number, unrolls = 0, []
    times = range(len(given.places if isinstance(given, _Words) else given.noise))
    for layer in range(layers):
        directions, unrolls = [], []
        # What leaves the last layer lies in memory as it is asked for.
        time_at = -2 if batch_first and layer == layers - 1 else -3
        for backward in (False, True) if bidirectional else (False,):
            group = tuple(flat[each * number : each * (number + 1)])
            weights = group if has_biases else (*group, None, None)
            now: Numbers = [state.over(lambda part, k=number: part[k]) for state in begin]
            projected = _project(given, weights, cell.gates)
            begun, steps, passage = [state.noise for state in now], [], None
            output = _room(now[0].noise, len(times), time_at)
            for t in reversed(times) if backward else times:
                # Every second step looks back over two.
                before = passage if len(steps) % 2 else None
                now, step, passage = _advance(cell, projected(t), now, weights, before)
                steps.append(step)
                for place, part in zip(output, (*now[0].parts, now[0].noise), strict=True):
                    place.select(time_at, t).copy_(part)
            unrolls.append(Unroll(begun, steps))
            value, slope, curve, noise = output
            directions.append(Parabola((value, slope, curve), noise, noise))
            for end, last in zip(ends, now, strict=True):
                end.append(last)
            number += 1
        given = directions[0] if len(directions) == 1 else joined(directions, -1)
    assert isinstance(given, Parabola)  # there is at least one layer
    trace = unrolled(unrolls)
    if batch_first:
        trace = trace.rearranged(lambda part: part.transpose(0, 1))
    given = replace(given, trace=trace)
    return (second_order(given), *(joined(end, -3, new=True).model() for end in ends))


def _room(number: Tensor, steps: int, time_at: int) -> tuple[Tensor, ...]:
    """For value, slope, curve and noise of each step, like one number but for the time."""
    shape = [*number.shape]
    shape.insert(len(shape) + 1 + time_at, steps)
    return number.new_empty(4, *shape).unbind()


def _precision(recurrent: Sequence[TaylorModel], gates: int) -> torch.dtype:
    """Float32 where Jacobians are computed in it and the weights move enough, else float64."""
    moves = [weight.slope for weight in recurrent]
    if any(blocks_of(weight, gates).dtype == torch.float64 for weight in recurrent):
        return torch.float64
    wide = all(move is not None and float(move.abs().max()) > WIDE for move in moves)
    return torch.float32 if wide else torch.float64


def _cell(cell: Cell, x: Any, states: Sequence[Any], *weights: Any) -> list[TaylorModel]:
    """A cell called on its own: one step."""
    w, u, b, c = weights
    weights = (w, u, b, c)
    alone = Parabola.of(as_model(x)).over(lambda part: part.unsqueeze(0))
    begin = [Parabola.of(as_model(state)) for state in states]
    states, _, _ = _advance(cell, _project(alone, weights, cell.gates)(0), begin, weights, None)
    return [state.model() for state in states]


@rule("lstm")
def lstm(x: Any, hx: Any, *rest: Any) -> tuple[TaylorModel, ...]:
    """``torch.lstm``, the function under ``nn.LSTM``."""
    return _run("lstm", _LSTM, x, tuple(hx), *rest)


@rule("gru")
def gru(x: Any, hx: Any, *rest: Any) -> tuple[TaylorModel, ...]:
    """``torch.gru``, the function under ``nn.GRU``."""
    return _run("gru", _GRU, x, (hx,), *rest)


@rule("rnn_tanh")
def rnn_tanh(x: Any, hx: Any, *rest: Any) -> tuple[TaylorModel, ...]:
    """``torch.rnn_tanh``, the function under ``nn.RNN``."""
    return _run("rnn_tanh", _TANH, x, (hx,), *rest)


@rule("rnn_relu")
def rnn_relu(x: Any, hx: Any, *rest: Any) -> tuple[TaylorModel, ...]:
    """``torch.rnn_relu``, the function under ``nn.RNN(nonlinearity="relu")``."""
    return _run("rnn_relu", _RELU, x, (hx,), *rest)


@rule("lstm_cell")
def lstm_cell(x: Any, hx: Any, w: Any, u: Any, b: Any = None, c: Any = None) -> tuple[Any, ...]:
    """``torch.lstm_cell``."""
    return tuple(_cell(_LSTM, x, tuple(hx), w, u, b, c))


@rule("gru_cell")
def gru_cell(x: Any, hx: Any, w: Any, u: Any, b: Any = None, c: Any = None) -> TaylorModel:
    """``torch.gru_cell``."""
    return _cell(_GRU, x, (hx,), w, u, b, c)[0]


@rule("rnn_tanh_cell")
def rnn_tanh_cell(x: Any, hx: Any, w: Any, u: Any, b: Any = None, c: Any = None) -> TaylorModel:
    """``torch.rnn_tanh_cell``."""
    return _cell(_TANH, x, (hx,), w, u, b, c)[0]


@rule("rnn_relu_cell")
def rnn_relu_cell(x: Any, hx: Any, w: Any, u: Any, b: Any = None, c: Any = None) -> TaylorModel:
    """``torch.rnn_relu_cell``."""
    return _cell(_RELU, x, (hx,), w, u, b, c)[0]
