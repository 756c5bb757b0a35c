"""Move one network by its symmetries so that it lies near another; its function stays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from thalweg.errors import InputError
from thalweg.objective import Objective, Split
from thalweg.parameters import Source, aliases, named_tensors
from thalweg.symmetry.activations import match_activations
from thalweg.symmetry.group import PermutationGroup, permutation_group
from thalweg.symmetry.matching import complete, match_weights
from thalweg.symmetry.rescaling import RescalingGroup, rescaling_group

METHODS = ("weights", "activations")
"""Ways to find the permutation."""

# Examples whose outputs are compared, and by whose activations units are matched.
_EXAMPLES = 2048
_BATCH = 512
# Relative change of outputs in float64 beyond which it is not rounding.
_CHANGED = 1e-8


@dataclass(frozen=True, eq=False)
class Alignment:
    """A network moved by its symmetries to lie near another.

    Attributes:
        theta: the moved parameters, `[p]`.
        state_dict: the same with buffers, which move along, under all names of the model.
        before: ‖θB − θA‖ as given.
        after: the same once B is moved.
        permutations: by family of units: `permutation[i]` is the unit of B that took place `i`.
        log_sizes: log α of every free size, or None where units were not rescaled.
        max_output_change: largest difference of an output of B before and after, over up to 2,048
            training examples, in the objective's own dtype.
        method: ``"weights"`` or ``"activations"``.
        seed: of the order in which families were matched.
        fixed_by: operations of the model without a rule, whose units stayed in place.
    """

    theta: Tensor
    state_dict: Mapping[str, Tensor]
    before: float
    after: float
    permutations: Mapping[str, Tensor]
    log_sizes: Tensor | None
    max_output_change: float
    method: str
    seed: int
    fixed_by: tuple[str, ...]

    @property
    def moved(self) -> bool:
        """Whether B is another point of parameter space now."""
        turned = any(not torch.equal(p, torch.arange(len(p))) for p in self.permutations.values())
        return turned or (self.log_sizes is not None and bool(self.log_sizes.any()))


def align(
    objective: Objective,
    model_a: Source,
    model_b: Source,
    method: str = "weights",
    rescale: bool = False,
    seed: int = 0,
    restarts: int = 0,
) -> Alignment:
    """Move model B by the symmetries of its architecture to lie near model A.

    The function that B computes stays the same, up to rounding; statistics of BatchNorm move
    along. See :mod:`thalweg.symmetry.matching` and :mod:`thalweg.symmetry.activations`.

    Args:
        objective: model and data.
        model_a: a module, state dict, flat vector `[p]` or checkpoint file.
        model_b: likewise.
        method: ``"weights"`` (no data needed) or ``"activations"``.
        rescale: also change the sizes of relu units to match those of A.
        seed: of the order in which families of units are matched.
        restarts: of weight matching, from random permutations.

    Returns:
        The moved model, and how far it came.

    Raises:
        InputError: if a model does not fit, torch.fx cannot trace the architecture, or it has no
            units that could change places.

    Example:
        >>> from torch import nn
        >>> x, y = torch.randn(8, 2), torch.randn(8, 1)
        >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
        >>> objective = Objective(model, nn.functional.mse_loss, train=(x, y))
        >>> theta = objective.theta(model)
        >>> turned = theta.clone()
        >>> turned[:6], turned[6:9] = theta[:6].roll(2), theta[6:9].roll(1)
        >>> turned[9:12] = theta[9:12].roll(1)
        >>> found = align(objective, theta, turned)
        >>> found.permutations["0"].tolist(), found.after
        ([1, 2, 0], 0.0)
    """
    if method not in METHODS:
        raise InputError(f"expected a method among {', '.join(METHODS)}, got '{method}'")
    data = objective.splits[objective.training.split].take(_EXAMPLES)
    group = permutation_group(objective.model, *data.inputs)
    sizes = rescaling_group(objective.model, *data.inputs) if rescale else None
    _check_free(group, sizes)
    a = _tensors(objective, model_a, "model A")
    b = _tensors(objective, model_b, "model B")
    names = objective.layout.names
    own_a, own_b = ({name: t[name] for name in names} for t in (a, b))
    near_a, near_b = own_a, own_b
    if sizes is not None:  # what differs in size alone must not count
        near_a, near_b = (
            sizes.apply(own, sizes.normal_sizes(own).to(objective.device)) for own in (own_a, own_b)
        )
    if method == "weights":
        permutations = match_weights(
            group, near_a, near_b, seed=seed, restarts=restarts
        ).permutations
    else:
        known = match_activations(group, objective.model, {**a, **near_a}, {**b, **near_b}, data)
        permutations = complete(group, near_a, near_b, known, seed=seed)
    # Moved in float64, so that what is left of a change there is no rounding of ours.
    wide = {n: t.double() if t.is_floating_point() else t for n, t in b.items()}
    moved_wide = group.apply(wide, permutations)
    log_sizes = None
    if sizes is not None:
        turned = {name: moved_wide[name] for name in names}
        log_sizes = sizes.nearest_sizes(own_a, turned)
        moved_wide |= sizes.apply(turned, log_sizes.to(objective.device))
    _check_function(objective, wide, moved_wide, data)
    moved = {name: tensor.to(b[name].dtype) for name, tensor in moved_wide.items()}
    theta, start = objective.layout.flatten(moved), objective.layout.flatten(own_b)
    origin = objective.layout.flatten(own_a)
    return Alignment(
        theta=theta,
        state_dict=_all_names(objective, moved),
        before=_distance(start, origin),
        after=_distance(theta, origin),
        permutations=permutations,
        log_sizes=log_sizes,
        max_output_change=_difference(objective, b, moved, data)[0],
        method=method,
        seed=seed,
        fixed_by=group.fixed_by,
    )


def _check_free(group: PermutationGroup, sizes: RescalingGroup | None) -> None:
    if group.families or (sizes is not None and sizes.size):
        return
    why = "none of its layers has hidden units"
    if group.fixed_by:
        listed = ", ".join(f"'{name}'" for name in group.fixed_by[:3])
        why = f"no rule is known for {listed}"
    raise InputError(
        f"expected a model with units that can change places, got one without ({why}): "
        "there is nothing to align"
    )


def _tensors(objective: Objective, source: Source, label: str) -> dict[str, Tensor]:
    """Parameters by first name, and buffers: those given, or else estimated."""
    theta = objective.theta(source, label)
    given = named_tensors(source, objective.layout)
    found = dict(objective.layout.unflatten(theta))
    estimated = objective.state_dict(theta)
    for name, buffer in objective.model.named_buffers():
        tensor = given.get(name, estimated.get(name, buffer))
        found[name] = tensor.detach().to(buffer.device, buffer.dtype)
    return found


def _all_names(objective: Objective, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    names = aliases(objective.model)
    tied = {alias: tensors[name] for name in objective.layout.names for alias in names[name]}
    rest = {n: tensors.get(n, t) for n, t in objective.model.state_dict().items() if n not in tied}
    return {
        name: {**rest, **tied}[name].detach().clone(memory_format=torch.contiguous_format)
        for name in objective.model.state_dict()
    }


def _distance(a: Tensor, b: Tensor) -> float:
    return float(torch.linalg.vector_norm(a.double() - b.double()))


def _check_function(
    objective: Objective, before: dict[str, Tensor], after: dict[str, Tensor], data: Split
) -> None:
    """Refuse a change of outputs, in float64, that is more than rounding.

    Raises:
        InputError: if there is one.
    """
    change, size = _difference(objective.double(), before, after, data)
    if not change <= _CHANGED * max(1.0, size):
        raise InputError(
            f"expected an aligned model to compute what it computed before, got outputs changed "
            f"by {change:.3g}: the model's forward treats its units in a way that its graph does "
            "not show; give a model whose layers see nothing but their inputs"
        )


def _difference(
    objective: Objective, before: dict[str, Tensor], after: dict[str, Tensor], data: Split
) -> tuple[float, float]:
    """Largest difference of an output, and largest output."""
    change = size = 0.0
    data = data.to(objective.device, objective.layout.dtype)
    with torch.no_grad():
        for inputs, _ in data.chunks(_BATCH):
            arguments = inputs if isinstance(inputs, tuple) else (inputs,)
            old, new = (functional_call(objective.model, t, arguments) for t in (before, after))
            for x, y in zip(_outputs(old), _outputs(new), strict=True):
                change = max(change, float((x - y).abs().max()))
                size = max(size, float(x.abs().max()))
    return change, size


def _outputs(output: Any) -> list[Tensor]:
    if isinstance(output, Tensor):
        return [output]
    parts = output.values() if isinstance(output, Mapping) else output
    return [tensor for part in parts for tensor in _outputs(part)]
