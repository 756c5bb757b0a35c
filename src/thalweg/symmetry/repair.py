"""Repair of statistics after interpolation: REPAIR.

Jordan, Sedghi, Saukh, Entezari & Neyshabur 2023: between two aligned networks the variance of the
preactivations collapses, layer by layer, which is much of the barrier that is left. Every hidden
unit of the interpolated network gets the mean and the standard deviation that interpolate those of
the two networks (their Section 4): `μ = (1 − t) μA + t μB`, `σ = (1 − t) σA + t σB`.

With BatchNorm that is the re-estimation of its statistics, which the objective does for every θ.
Without, the affine correction of each unit is folded into the weights and the bias of its layer;
a layer without bias gets the standard deviation alone. Layers are corrected in the order of the
network, each behind those already corrected, on the same examples.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from thalweg.errors import InputError
from thalweg.objective import Objective, Split
from thalweg.parameters import Source
from thalweg.symmetry.activations import Recorder, with_tensors
from thalweg.symmetry.group import permutation_group
from thalweg.symmetry.walk import trace

_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d)
_EXAMPLES = 2048
_BATCH = 256


def repair(objective: Objective, model_a: Source, model_b: Source, t: float = 0.5) -> Tensor:
    """The interpolated network with the statistics of its hidden units repaired.

    Args:
        objective: model and data; up to 2,048 training examples are looked at.
        model_a: a module, state dict, flat vector `[p]` or checkpoint file.
        model_b: likewise, aligned to A (:func:`thalweg.align`).
        t: from 0, at A, to 1, at B.

    Returns:
        θ, `[p]`. With BatchNorm it is the plain interpolation, whose statistics
        ``objective.state_dict(theta)`` estimates.

    Raises:
        InputError: if a model does not fit, `t` is not in [0, 1], or torch.fx cannot trace the
            architecture.

    Example:
        >>> x, y = torch.randn(64, 2), torch.randn(64, 1)
        >>> model = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 1))
        >>> objective = Objective(model, nn.functional.mse_loss, train=(x, y))
        >>> theta = objective.theta(model)
        >>> bool(torch.allclose(repair(objective, theta, theta), theta, atol=1e-5))
        True
    """
    if not 0 <= t <= 1:
        raise InputError(f"expected t in [0, 1], got {t}")
    ends = [
        objective.theta(source, f"model {end}") for end, source in (("A", model_a), ("B", model_b))
    ]
    between = torch.lerp(ends[0], ends[1], t)
    normalized = any(
        isinstance(m, nn.modules.batchnorm._BatchNorm) for m in objective.model.modules()
    )
    if normalized:
        return between
    data = objective.splits[objective.training.split].take(_EXAMPLES)
    layers = _hidden_layers(objective, data)
    models = [with_tensors(objective.model, objective.layout.unflatten(end)) for end in ends]
    known = [_statistics(model, layers, data) for model in models]
    tensors = dict(objective.layout.unflatten(between.clone()))
    for node, layer in layers.items():
        model = with_tensors(objective.model, tensors)
        ((mean, deviation),) = _statistics(model, {node: layer}, data).values()
        (mean_a, deviation_a), (mean_b, deviation_b) = (each[node] for each in known)
        wanted = (1 - t) * deviation_a + t * deviation_b
        # A unit that is constant has no deviation to correct.
        factor = torch.where(deviation > 0, wanted / deviation, torch.ones_like(deviation))
        shift = (1 - t) * mean_a + t * mean_b - factor * mean
        tensors.update(_folded(tensors, layer, factor, shift))
    return objective.layout.flatten(tensors)


def _hidden_layers(objective: Objective, data: Split) -> dict[str, str]:
    """Node to name of the layers that make units of the group and are run once, in order."""
    group = permutation_group(objective.model, *data.inputs)
    hidden = {
        place.name
        for family in group.families
        for place in family.places
        if place.power > 0 and place.axis == 0
    }
    graph = trace(objective.model).graph
    nodes = [node for node in graph.nodes if node.op == "call_module"]
    targets = [node.target for node in nodes]
    layers = dict(objective.model.named_modules())
    return {
        node.name: str(node.target)
        for node in nodes
        if type(layers[str(node.target)]) in _LAYERS
        and f"{node.target}.weight" in hidden
        and targets.count(node.target) == 1
    }


def _statistics(
    model: nn.Module, layers: Mapping[str, str], data: Split
) -> dict[str, tuple[Tensor, Tensor]]:
    """Mean and standard deviation of every unit of some layers, in float64."""
    recorder = Recorder(model, set(layers))
    sums: dict[str, list[Tensor]] = {}
    count: dict[str, int] = {}
    for inputs, _ in data.chunks(_BATCH):
        for node, value in recorder.record(inputs).items():
            layer = model.get_submodule(layers[node])
            axes = len(getattr(layer, "kernel_size", ()))  # behind the units
            rows = value.double().movedim(-axes - 1, 0).flatten(1)
            parts = [rows.sum(1), rows.square().sum(1)]
            sums[node] = [x + y for x, y in zip(sums.get(node, [0.0, 0.0]), parts, strict=True)]
            count[node] = count.get(node, 0) + rows.shape[1]
    result = {}
    for node, (total, squares) in sums.items():
        mean = total / count[node]
        result[node] = mean, (squares / count[node] - mean**2).clamp_min(0).sqrt()
    return result


def _folded(
    tensors: Mapping[str, Tensor], layer: str, factor: Tensor, shift: Tensor
) -> dict[str, Tensor]:
    """Weight and bias of a layer that scales and shifts its units."""
    weight, bias = f"{layer}.weight", f"{layer}.bias"
    wide = tensors[weight].double()
    changed = {weight: wide * factor.reshape(-1, *[1] * (wide.ndim - 1))}
    if bias in tensors:
        changed[bias] = tensors[bias].double() * factor + shift
    return {name: t.to(tensors[name].dtype) for name, t in changed.items()}
