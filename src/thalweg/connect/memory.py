"""What a search may hold in memory, beyond the model and the data, and how it is shared out."""

from __future__ import annotations

from dataclasses import dataclass

from thalweg.errors import InputError
from thalweg.parameters import Layout

DEFAULT_LIMIT = 2_000_000_000
"""Bytes, where nobody names a limit and one model in flight does not need more."""

# A model in training is its parameters, their gradient (in parts and joined), the state of its
# optimizer (two of Adam's) and temporaries of the update: tensors of the size of the model.
_COPIES = 10
# A third of the limit is for models in training, an eighth for trained ones in memory. The rest
# is for what comes and goes, and for the gaps that it leaves in the memory of the process.
_TRAINING = 3
_PARKED = 8
# Points of a segment are made, joined and converted: each stack exists a few times over.
_STACK = 64


@dataclass(frozen=True)
class Allotment:
    """Shares of the memory of a search.

    Attributes:
        models: in training at a time, at most.
        parked: bytes of trained beads in memory; further ones lie on disk.
        stack: bytes of models evaluated together.
    """

    models: int
    parked: int
    stack: int


def allot(limit: int | None, layout: Layout) -> Allotment:
    """Share out a memory limit.

    Args:
        limit: bytes beyond model and data; None: 2 GB, or more where one model needs it.
        layout: of the model.

    Raises:
        InputError: if not even one model can be trained within the limit.

    Example:
        >>> import torch
        >>> layout = Layout(("w",), ((3_000_000,),), torch.float32)
        >>> allot(2_000_000_000, layout)
        Allotment(models=5, parked=250000000, stack=31250000)
    """
    model = layout.size * layout.dtype.itemsize
    least = _TRAINING * _COPIES * model
    if limit is not None and limit < least:
        raise InputError(
            f"expected a memory limit of at least {least:,} bytes to train one model of "
            f"{layout.size:,} parameters, got {limit:,}: raise the limit"
        )
    total = max(DEFAULT_LIMIT, least) if limit is None else limit
    return Allotment(
        models=total // _TRAINING // (_COPIES * model),
        parked=total // _PARKED,
        stack=total // _STACK,
    )
