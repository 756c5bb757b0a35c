"""From whatever a user holds (module, state dict, flat vector, file) to θ, checked by name."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from thalweg.errors import InputError
from thalweg.parameters.checkpoint import load_checkpoint
from thalweg.parameters.layout import Layout, check_dtypes

Source = nn.Module | Mapping[str, Tensor] | Tensor | str | Path
"""What stands for a model: a module, a state dict, a flat vector `[p]`, or a checkpoint file."""

# Prefixes that wrappers put before every name of a state dict.
_WRAPPERS = ("module.", "_orig_mod.")
# Statistics that are part of evaluation and estimated anew wherever θ moves.
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def resolve(source: Source, model: nn.Module, layout: Layout, label: str) -> Tensor:
    """Read θ off a source and check that it belongs to this architecture.

    Parameters are matched by name, never by position. Frozen parameters and buffers that the
    source holds must equal those of `model`, since a path cannot move them; statistics of
    BatchNorm are exempt, since they are estimated anew for every θ.

    Args:
        source: a module, a state dict, a flat vector `[p]` or the path of a checkpoint.
        model: the module that defines the architecture.
        layout: its layout.
        label: how to call the source in an error, such as ``"endpoint A"``.

    Returns:
        θ, `[p]`, a copy.

    Raises:
        InputError: if names, shapes or dtypes differ, or a value is not finite.
    """
    if isinstance(source, str | Path):
        label = f"{label} ({source})"
        tensors: Mapping[str, Tensor] = load_checkpoint(source)
    elif isinstance(source, Tensor):
        return _resolve_vector(source, layout, label)
    elif isinstance(source, nn.Module):
        tensors = source.state_dict()
    elif isinstance(source, Mapping):
        tensors = source
        for name, value in tensors.items():
            if not isinstance(value, Tensor):
                raise InputError(
                    f"expected tensors in the state dict of {label}, got {type(value).__name__} "
                    f"at '{name}'"
                )
    else:
        raise InputError(
            f"expected a module, a state dict, a flat vector or a file for {label}, "
            f"got {type(source).__name__}"
        )
    return _resolve_names(_unwrap(tensors, layout), model, layout, label)


def named_tensors(source: Source, layout: Layout) -> Mapping[str, Tensor]:
    """All tensors that a source holds by name, buffers included; none of a flat vector.

    Args:
        source: a module, a state dict, a flat vector or the path of a checkpoint.
        layout: of the architecture.
    """
    if isinstance(source, Tensor):
        return {}
    if isinstance(source, str | Path):
        return _unwrap(load_checkpoint(source), layout)
    return _unwrap(source.state_dict() if isinstance(source, nn.Module) else source, layout)


def check_finite(theta: Tensor, layout: Layout, label: str) -> None:
    """Refuse NaN and inf, naming the tensor that holds them.

    Args:
        theta: `[p]`.
        layout: its layout.
        label: whose it is.

    Raises:
        InputError: naming the first tensor with a non-finite entry.
    """
    if torch.isfinite(theta).all():
        return
    for name, tensor in layout.unflatten(theta).items():
        bad = int((~torch.isfinite(tensor)).sum())
        if bad:
            raise InputError(
                f"expected finite parameters, got {bad} NaN or inf of {tensor.numel()} entries in "
                f"'{name}' of {label}: train or save that model again"
            )


def fingerprint(theta: Tensor) -> str:
    """SHA-256 of θ: of its little-endian bytes in the order of the layout.

    Example:
        >>> fingerprint(torch.zeros(2))[:8]
        'af5570f5'
    """
    return hashlib.sha256(theta.detach().cpu().contiguous().numpy().tobytes()).hexdigest()


def _resolve_vector(theta: Tensor, layout: Layout, label: str) -> Tensor:
    if theta.shape != (layout.size,):
        raise InputError(
            f"expected a flat vector [{layout.size}] for {label}, got shape {list(theta.shape)}"
        )
    check_dtypes({"the vector": theta}, label)
    theta = theta.detach().to("cpu", layout.dtype, copy=True)
    check_finite(theta, layout, label)
    return theta


def _unwrap(tensors: Mapping[str, Tensor], layout: Layout) -> Mapping[str, Tensor]:
    """Strip the prefixes that DataParallel and torch.compile put before every name."""
    stripped = tensors
    while stripped and not set(layout.names) & set(stripped):
        prefix = next((p for p in _WRAPPERS if all(n.startswith(p) for n in stripped)), None)
        if prefix is None:
            return tensors
        stripped = {name.removeprefix(prefix): t for name, t in stripped.items()}
    return stripped


def _resolve_names(
    tensors: Mapping[str, Tensor], model: nn.Module, layout: Layout, label: str
) -> Tensor:
    shared = aliases(model)
    known = {**dict(model.named_parameters(remove_duplicate=False)), **dict(model.named_buffers())}
    missing = [n for n in layout.names if not any(a in tensors for a in shared[n])]
    extra = [n for n in tensors if n not in known and n not in model.state_dict()]
    if missing or extra:
        raise InputError(
            f"expected the parameters of {type(model).__name__} in {label}, got other names: "
            f"missing {_listed(missing)}; unexpected {_listed(extra)}"
        )
    chosen = {n: next(tensors[a] for a in shared[n] if a in tensors) for n in layout.names}
    for name, shape in zip(layout.names, layout.shapes, strict=True):
        for alias in shared[name]:
            got = tensors.get(alias)
            if got is not None and tuple(got.shape) != shape:
                raise InputError(
                    f"expected shape {list(shape)} for parameter '{alias}', got "
                    f"{list(got.shape)} in {label}: the architectures differ"
                )
            if got is not None and got is not chosen[name] and not torch.equal(got, chosen[name]):
                raise InputError(
                    f"expected equal tensors for '{name}' and '{alias}', which the model ties, "
                    f"got different ones in {label}"
                )
    check_dtypes(chosen, label)
    for name, tensor in chosen.items():
        if tensor.dtype != layout.dtype:
            raise InputError(
                f"expected {layout.dtype} for parameter '{name}', got {tensor.dtype} in {label}: "
                "convert the checkpoint or the model"
            )
    theta = layout.flatten({n: t.cpu() for n, t in chosen.items()}).clone()
    check_finite(theta, layout, label)
    _check_fixed(tensors, known, set(layout.names), shared, label)
    return theta


def _check_fixed(
    tensors: Mapping[str, Tensor],
    known: Mapping[str, Tensor],
    trainable: set[str],
    shared: Mapping[str, Sequence[str]],
    label: str,
) -> None:
    """What a path cannot move must be the same in the source as in the model."""
    movable = {alias for name in trainable for alias in shared[name]}
    for name, own in known.items():
        got = tensors.get(name)
        if got is None or name in movable or name.rpartition(".")[2] in _STATISTICS:
            continue
        if got.shape != own.shape or not torch.equal(got.to(own), own.detach()):
            raise InputError(
                f"expected '{name}', which is not trainable, to equal the model's, got another "
                f"value in {label}: a path cannot move it; set requires_grad=True or build the "
                "model with that value"
            )


def aliases(model: nn.Module) -> dict[str, list[str]]:
    """First name of every parameter, to all names that share its tensor, its own included."""
    first: dict[int, str] = {}
    names: dict[str, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(first.setdefault(id(parameter), name), []).append(name)
    return names


def _listed(names: Sequence[str], limit: int = 6) -> str:
    if not names:
        return "none"
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(f"'{name}'" for name in names[:limit]) + more
