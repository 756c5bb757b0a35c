"""What cuDNN is allowed on a GPU: not to round float32 to TF32, or nothing at all."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch


@contextlib.contextmanager
def full_float32() -> Iterator[None]:
    """Let cuDNN compute convolutions and recurrent layers in float32 itself.

    PyTorch lets it take TF32, off by up to 1e-3, unless told otherwise: the criterion on a GPU
    would then not be what it is on a CPU. Matrix products outside cuDNN follow
    :func:`torch.set_float32_matmul_precision`, whose default is full precision.

    Example:
        >>> with full_float32():
        ...     torch.backends.cudnn.allow_tf32
        False
    """
    cudnn: Any = torch.backends.cudnn
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(RuntimeError):  # convolutions may be set apart from the rest
            stack.enter_context(_set(cudnn, "allow_tf32", False))
        if hasattr(cudnn, "conv"):  # since torch 2.9 a setting for each
            stack.enter_context(_set(cudnn.conv, "fp32_precision", "ieee"))
            stack.enter_context(_set(cudnn.rnn, "fp32_precision", "ieee"))
        yield


def without_cudnn() -> contextlib.AbstractContextManager[None]:
    """Let PyTorch's own kernels compute what cuDNN would.

    Example:
        >>> with without_cudnn():
        ...     torch.backends.cudnn.enabled
        False
    """
    return _set(torch.backends.cudnn, "enabled", False)


@contextlib.contextmanager
def _set(owner: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)
