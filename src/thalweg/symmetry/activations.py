"""Activation matching: the permutation that brings the units' outputs nearest to another's.

Ainsworth, Hayase & Srinivasa 2023 (Git Re-Basin), Section 3.1, Eq. 1: with the values of the units
of a family over a data set as rows, Z^(A) and Z^(B), `P = argmin ‖Z^(A) − P Z^(B)‖² = argmax
⟨P, Z^(A) Z^(B)ᵀ⟩`, one linear assignment a family. The values are those that the next layers see:
behind the activation function, the pooling and the residual sum.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn

from thalweg.objective import Split
from thalweg.symmetry.group import PermutationGroup, Tensors
from thalweg.symmetry.matching import assign, units_of
from thalweg.symmetry.walk import trace

_BATCH = 256


def match_activations(
    group: PermutationGroup, model: nn.Module, a: Tensors, b: Tensors, data: Split
) -> dict[str, Tensor]:
    """Permutations by what the units compute.

    Args:
        group: of the model.
        model: the architecture, in evaluation mode; it is not changed.
        a: parameters and buffers of the network that stays.
        b: those of the network that moves.
        data: examples to look at.

    Returns:
        By name of family; those whose values no layer of the graph sees are left out. Units
        that never differ from zero are assigned in any order.
    """
    gains = agreement(group, model, a, b, data)
    return {name: assign(gain) for name, gain in gains.items()}


def agreement(
    group: PermutationGroup, model: nn.Module, a: Tensors, b: Tensors, data: Split
) -> dict[str, Tensor]:
    """`Z^(A) Z^(B)ᵀ`, `[n, n]`, by name of family; arguments as above."""
    families = {family.name: family for family in group.families}
    gains: dict[str, Tensor] = {}
    values_a, values_b = _values(group, model, a, data), _values(group, model, b, data)
    for seen_a, seen_b in zip(values_a, values_b, strict=True):
        for node, axis, name, index in group.seen:
            za, zb = (
                units_of(families[name], seen[node].double(), axis, index)
                for seen in (seen_a, seen_b)
            )
            gains[name] = gains.get(name, torch.zeros(())) + (za @ zb.T).cpu()
    return gains


def _values(
    group: PermutationGroup, model: nn.Module, tensors: Tensors, data: Split
) -> Iterator[dict[str, Tensor]]:
    """What layers see, batch by batch."""
    recorder = Recorder(with_tensors(model, tensors), {node for node, *_ in group.seen})
    for inputs, _ in data.chunks(_BATCH):
        yield recorder.record(inputs)


def with_tensors(model: nn.Module, tensors: Mapping[str, Tensor]) -> nn.Module:
    """A copy of a model with other parameters and buffers.

    Args:
        model: it is not changed.
        tensors: by name; what is left out stays as it is. Tied tensors stay tied.
    """
    twin = copy.deepcopy(model)
    own = {**dict(twin.named_parameters()), **dict(twin.named_buffers())}
    with torch.no_grad():
        for name, tensor in tensors.items():
            if name in own:
                own[name].copy_(tensor)
    return twin.eval()


class Recorder(fx.Interpreter):
    """Runs a model and keeps the values of some nodes of its graph.

    Args:
        model: to run.
        nodes: by name.
    """

    def __init__(self, model: nn.Module, nodes: set[str]) -> None:
        super().__init__(trace(model))
        self._nodes = nodes
        self._kept: dict[str, Tensor] = {}

    def record(self, inputs: Tensor | tuple[Tensor, ...]) -> dict[str, Tensor]:
        """Values by name of node, for one batch."""
        self._kept = {}
        with torch.no_grad():
            self.run(*(inputs if isinstance(inputs, tuple) else (inputs,)))
        return self._kept

    def run_node(self, n: fx.Node) -> Any:
        """Run one node, and keep its value if it was asked for."""
        value = super().run_node(n)
        if n.name in self._nodes:
            self._kept[n.name] = value.clone()  # what follows may work in place
        return value
