"""Max-pooling before the relu that feeds it: the same function, cheaper to bound.

The two commute exactly, and after the pooling the relu has a fraction of the numbers to look at.
"""

from __future__ import annotations

import copy
from typing import Any

from torch import fx, nn

from thalweg.objective.pooling import SlicedMaxPool2d, pool_before_relu


def rearranged(objective: Any) -> Any:
    """The objective with such a copy of its model; itself where none can be made or none is needed.

    Args:
        objective: whose model is taken; parameters are shared and keep their names.

    Returns:
        An objective for bounds alone; :func:`original` finds the model back.

    Example:
        >>> from types import SimpleNamespace
        >>> model = nn.Sequential(nn.Conv2d(1, 1, 3), nn.ReLU(), nn.MaxPool2d(2))
        >>> out = rearranged(SimpleNamespace(model=model))
        >>> [node.name for node in out.model.graph.nodes]
        ['input_1', '_0', 'pool_0', '_1', 'output']
    """
    model = objective.model
    if not any(isinstance(layer, nn.MaxPool2d) for layer in model.modules()):
        return objective
    try:
        traced = fx.symbolic_trace(model)
    except Exception:  # fx raises whatever the model's code raises on symbolic values
        return objective
    before = [node.name for node in traced.graph.nodes]
    pool_before_relu(traced)
    if before == [node.name for node in traced.graph.nodes]:
        return objective
    for name, layer in list(traced.named_children()):
        if isinstance(layer, SlicedMaxPool2d):
            setattr(traced, name, nn.MaxPool2d(layer.kernel))
    traced.meta["original"] = model
    return _with_model(objective, traced)


def original(objective: Any) -> Any:
    """The objective that a rearranged one was made from; itself if it is none."""
    written = getattr(objective.model, "meta", {}).get("original")
    return objective if written is None else _with_model(objective, written)


def _with_model(objective: Any, model: nn.Module) -> Any:
    out = copy.copy(objective)
    out.model = model
    return out
