"""Randomness of one's own: what models draw while they train leaves the global state alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


class Randomness:
    """A state of torch's generators that is put in place while models train, and kept for later.

    Args:
        seed: where it starts.
        device: on which the models are.

    Example:
        >>> own = Randomness(0, torch.device("cpu"))
        >>> with own.active():
        ...     first = torch.rand(2)
        >>> with own.active():
        ...     second = torch.rand(2)
        >>> bool((torch.cat([first, second]) == torch.rand(
        ...     4, generator=torch.Generator().manual_seed(0))).all())
        True
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        self._devices = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(devices=self._devices):
            torch.manual_seed(seed)
            self._states = self._read()

    @contextmanager
    def active(self) -> Iterator[None]:
        """Draw from it until the end of the block."""
        with torch.random.fork_rng(devices=self._devices):
            torch.set_rng_state(self._states[0])
            for device, state in zip(self._devices, self._states[1:], strict=True):
                torch.cuda.set_rng_state(state, device)
            yield
            self._states = self._read()

    def _read(self) -> list[Tensor]:
        return [torch.get_rng_state(), *(torch.cuda.get_rng_state(d) for d in self._devices)]
