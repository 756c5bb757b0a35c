"""A strategy is trusted once it agrees with the plain loop on a few points of the work at hand."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import Tensor, nn

from thalweg.objective.splits import Inputs
from thalweg.objective.strategies import STRATEGIES, Buffers, Work

EXAMPLES = 64
"""Examples that are looked at."""

_LOOP = STRATEGIES["loop"]


def values_agree(
    strategy: str, work: Work, stack: Tensor, buffers: Buffers, inputs: Inputs, target: Tensor
) -> bool:
    """Whether a strategy's values are those of the loop, to rounding.

    Args:
        strategy: its name.
        work: what is carried out.
        stack: `[k, p]`; all of them are carried out, and some compared.
        buffers: of each model, or empty.
        inputs: of a chunk, of which a leading part is used.
        target: likewise.

    Raises:
        RuntimeError: if the strategy does not apply.
    """
    inputs, target = _few(inputs), target[:EXAMPLES]
    got = STRATEGIES[strategy].values(work, stack, buffers, inputs, target)
    rows = some(len(stack))
    own = [buffers[i] for i in rows] if buffers else []
    return _close(got[rows], _LOOP.values(work, stack[rows], own, inputs, target), stack.dtype)


def gradients_agree(
    strategy: str, work: Work, stack: Tensor, inputs: Inputs, target: Tensor
) -> bool:
    """Whether a strategy's gradients and losses are those of the loop, to rounding.

    Dropout, which each strategy draws in its own order, is compared switched off.

    Args:
        strategy: its name.
        work: what is carried out.
        stack: `[k, p]`; all of them are carried out, and some compared.
        inputs: of a minibatch, of which a leading part is used.
        target: likewise.

    Raises:
        RuntimeError: if the strategy does not apply.
    """
    inputs, target = _few(inputs), target[:EXAMPLES]
    rows = some(len(stack))
    quiet = replace(work, model=_quiet(work.model))
    got = STRATEGIES[strategy].gradients(quiet, stack, inputs, target)
    before = torch.get_rng_state()
    expected = _LOOP.gradients(quiet, stack[rows], inputs, target)
    if not torch.equal(before, torch.get_rng_state()):
        return True  # random even so: nothing to compare
    return all(_close(a[rows], b, stack.dtype) for a, b in zip(got, expected, strict=True))


def reuse_agrees(got: Tensor, work: Work, stack: Tensor, inputs: Inputs, target: Tensor) -> bool:
    """Whether values of a few points, got in parts, are those of the loop, to rounding.

    Args:
        got: `[k, q]`.
        work: what is carried out.
        stack: `[k, p]`, the points.
        inputs: of a chunk.
        target: likewise.
    """
    return _close(got, _LOOP.values(work, stack, [], inputs, target), stack.dtype)


def _quiet(model: nn.Module) -> nn.Module:
    """A copy without dropout.

    It is in evaluation mode but for recurrent layers, whose gradients cuDNN has in training alone.
    """
    model = copy.deepcopy(model).eval()
    for layer in model.modules():
        if isinstance(layer, nn.RNNBase):
            layer.train().dropout = 0.0
    return model


def _few(inputs: Inputs) -> Inputs:
    if isinstance(inputs, tuple):
        return tuple(t[:EXAMPLES] for t in inputs)
    return inputs[:EXAMPLES]


def some(models: int) -> list[int]:
    """First, middle and last."""
    return sorted({0, models // 2, models - 1})


def _close(got: Tensor, expected: Tensor, dtype: torch.dtype) -> bool:
    """Whether rows differ by no more than rounding, relative to their length.

    Where the loop itself is not finite there is nothing to agree with.
    """
    tolerance = torch.finfo(dtype).eps ** 0.5
    got, expected = got.double(), expected.double()
    scale = torch.linalg.vector_norm(expected, dim=1)
    error = torch.linalg.vector_norm(got - expected, dim=1)
    return bool(((error <= tolerance * scale + 1e-30) | ~torch.isfinite(scale)).all())
