"""Rules of recurrent layers: a unit stands once in every gate, and on both axes of the loop."""

from __future__ import annotations

from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from thalweg.symmetry.labels import Labelled, tensors_in
from thalweg.symmetry.rules_elementwise import along_axis
from thalweg.symmetry.walk import Call, Rule


def module_rules() -> dict[type, Rule]:
    """Rules by class of module."""
    return {
        **dict.fromkeys((nn.LSTM, nn.GRU, nn.RNN), _layers),
        **dict.fromkeys((nn.LSTMCell, nn.GRUCell, nn.RNNCell), _cell),
    }


def _layers(call: Call) -> Any:
    layer = call.module
    first = call.args[0] if call.args else None
    if call.walk.action == "rescale" or layer.proj_size or not isinstance(first, Labelled):
        return call.walk.fallback(call)
    into = call.classes.along(call.first.labels, -1)
    call.walk.look(into, -1)
    directions = ("", "_reverse") if layer.bidirectional else ("",)
    hidden: list[list[Tensor]] = []
    for number in range(layer.num_layers):
        units = [_loop(call, into, f"_l{number}{way}", layer.hidden_size) for way in directions]
        hidden.append(units)
        into = torch.cat(units)
    states = list(chain(*hidden))
    _unite_states(call, states)
    output, final = call.value
    labels = [along_axis(units, -1, _final_shape(final)[1:]) for units in states]
    stacked = torch.stack(labels)
    ends = (
        tuple(Labelled(part, stacked) for part in final)
        if isinstance(final, tuple)
        else Labelled(final, stacked)
    )
    return Labelled(output, along_axis(into, -1, output.shape)), ends


def _final_shape(final: Any) -> torch.Size:
    """Shape of the last states, of one kind or two."""
    return final[0].shape if isinstance(final, tuple) else final.shape


def _loop(call: Call, into: Tensor, suffix: str, size: int) -> Tensor:
    """One layer in one direction: its units."""
    walk, layer = call.walk, call.module
    units = call.classes.fresh(size)
    weights = [
        walk.own(getattr(layer, name + suffix, None))
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    ]
    gates = getattr(layer, "weight_ih" + suffix).shape[0] // size
    for own in weights:
        walk.stand(own, units.repeat(gates), power=1)
    walk.stand(weights[0], into, axis=1, power=-1)
    walk.stand(weights[1], units, axis=1, power=-1)
    return units


def _unite_states(call: Call, states: list[Tensor]) -> None:
    """States handed in belong to the units that start from them."""
    for given in tensors_in(call.argument(1, "hx")):
        labels = call.walk.labelled(given).labels
        for units, state in zip(states, labels, strict=True):
            call.classes.unite(units, state)


def _cell(call: Call) -> Any:
    if call.walk.action == "rescale":
        return call.walk.fallback(call)
    into = call.classes.along(call.first.labels, -1)
    call.walk.look(into, -1)
    units = _loop(call, into, "", call.module.hidden_size)
    for given in tensors_in(call.argument(1, "hx")):
        call.classes.unite(units, call.walk.labelled(given).labels)
    if isinstance(call.value, tuple):
        return tuple(Labelled(part, along_axis(units, -1, part.shape)) for part in call.value)
    return Labelled(call.value, along_axis(units, -1, call.value.shape))
