"""What cuDNN is allowed on a GPU: float32 as such, the same way every time; or nothing at all.

These are settings of the process. They are made where a computation begins and undone when the last
one that asked for them has ended, in whatever thread; a PyTorch without CUDA has no use for them.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import torch

_cudnn: Any = torch.backends.cudnn


class Held(contextlib.ContextDecorator):
    """Settings that hold as long as anybody is in the block.

    Args:
        settings: makes them; undone when it is left.
    """

    def __init__(self, settings: Callable[[], AbstractContextManager[None]]) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._inside = 0
        self._undo = ExitStack()

    def __enter__(self) -> None:
        """Make the settings, if nobody has."""
        with self._lock:
            if not self._inside and torch.backends.cuda.is_built():
                self._undo.enter_context(self._settings())
            self._inside += 1

    def __exit__(self, *error: object) -> None:
        """Undo them, if nobody else is inside."""
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._undo.close()


@contextlib.contextmanager
def _set(owner: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


@contextlib.contextmanager
def _exact() -> Iterator[None]:
    with ExitStack() as stack:
        with contextlib.suppress(RuntimeError):  # convolutions may be set apart from the rest
            stack.enter_context(_set(_cudnn, "allow_tf32", False))
        if hasattr(_cudnn, "conv"):  # since torch 2.9 a setting for each
            stack.enter_context(_set(_cudnn.conv, "fp32_precision", "ieee"))
            stack.enter_context(_set(_cudnn.rnn, "fp32_precision", "ieee"))
        stack.enter_context(_set(_cudnn, "deterministic", True))
        yield


exact_cudnn = Held(_exact)
"""Let cuDNN compute convolutions and recurrent layers in float32 itself, the same way every time.

Unless told otherwise, PyTorch lets it take TF32, off by up to 1e-3, so that the criterion on a GPU
is not what it is on a CPU, and gradients whose sums come in another order every time, so that the
same seed finds another path. Matrix products outside cuDNN follow
:func:`torch.set_float32_matmul_precision`, whose default is full precision.
"""

without_cudnn = Held(lambda: _set(_cudnn, "enabled", False))
"""Let PyTorch's own kernels compute what cuDNN would."""
