"""The values of a surface while it is computed, kept in a file so that it can be taken up again."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from thalweg.errors import InputError
from thalweg.objective import Criterion, Objective
from thalweg.objective.batchnorm import tracked_layers
from thalweg.parameters import fingerprint, replacing

FORMAT = "thalweg.surface"
# Seconds between two times that the values are written; at an interruption they are, too.
_EVERY = 5.0

# Buffers of BatchNorm, which are no part of a model's own weights here.
_ESTIMATED = ("running_mean", "running_var", "num_batches_tracked")

Plans = Mapping[str, Mapping[str, Any]]


class Partial:
    """Values `[points, q]` that grow piece by piece; a context manager that leaves them in a file.

    Args:
        file: where to keep them; None: nowhere.
        key: of what is computed. Values under another key are replaced.
        total: points in all.
        measures: `q`.

    Raises:
        InputError: if the file is there and is not one of these.
    """

    def __init__(self, file: Path | None, key: str, total: int, measures: int) -> None:
        self._file = file
        self._key = key
        self._values = torch.empty(total, measures, dtype=torch.float64)
        self._plans: dict[str, Any] = {}
        self._written = time.monotonic()
        self.done = 0
        if file is not None and file.exists():
            self._read(file)

    @property
    def values(self) -> Tensor:
        """All values, once all are done."""
        return self._values

    def add(self, values: Tensor, plans: Plans) -> None:
        """Take the values of the next points.

        Args:
            values: `[k, q]`.
            plans: how they were computed. Other plans round otherwise: where they differ from
                those of the values read from the file, all is computed anew.
        """
        mine = json.loads(json.dumps(plans))
        if any(self._plans.get(name, plan) != plan for name, plan in mine.items()):
            self.done, self._plans = 0, {}
            return
        self._plans |= mine
        self._values[self.done : self.done + len(values)] = values
        self.done += len(values)
        if time.monotonic() - self._written > _EVERY:
            self._write()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._write()

    def _write(self) -> None:
        self._written = time.monotonic()
        if self._file is None or not self.done:
            return
        metadata = {"format": FORMAT, "version": "1", "key": self._key,
                    "plans": json.dumps(self._plans)}  # fmt: skip
        with replacing(self._file) as temporary:
            temporary.write_bytes(save({"values": self._values[: self.done].clone()}, metadata))

    def _read(self, file: Path) -> None:
        try:
            with safe_open(file, framework="pt") as content:
                metadata = content.metadata() or {}
                found = content.get_tensor("values") if "values" in content.keys() else None  # noqa: SIM118 no mapping
        except (SafetensorError, OSError) as error:
            raise InputError(
                f"expected a new name or the values of a surface at {file}, got a file that cannot "
                f"be read ({error}): choose another name or move it away"
            ) from error
        if metadata.get("format") != FORMAT:
            raise InputError(
                f"expected a new name or the values of a surface at {file}, got another file: "
                "choose another name or move it away"
            )
        fits = found is not None and found.shape[1:] == self._values.shape[1:]
        if metadata.get("key") != self._key or found is None or not fits:
            return
        self.done = min(len(found), len(self._values))
        self._values[: self.done] = found[: self.done]
        self._plans = json.loads(metadata.get("plans", "{}"))


def surface_key(
    objective: Objective,
    origin: Tensor,
    directions: Tensor,
    axes: Sequence[Tensor],
    split: str,
    measures: Sequence[Criterion],
    points: int,
) -> str:
    """A hash of everything that the values of a surface depend on.

    Args:
        objective: model, loss, data and device.
        origin: `[p]`.
        directions: `[m, p]`.
        axes: displacements.
        split: the data.
        measures: what is taken.
        points: of a piece.
    """
    # Statistics of BatchNorm are estimated on the training split.
    used = {split, objective.training.split} if tracked_layers(objective.model) else {split}
    data = {name: objective.splits[name].fingerprint() for name in sorted(used)}
    fixed = {
        name: hashlib.sha256(tensor.detach().cpu().contiguous().numpy().tobytes()).hexdigest()
        for name, tensor in (*objective.model.named_parameters(), *objective.model.named_buffers())
        if name not in objective.layout.names and not name.endswith(_ESTIMATED)
    }
    about = [
        1,  # of this list
        fingerprint(origin), fingerprint(directions), [fingerprint(axis) for axis in axes],
        split, [_function(measure.measure) for measure in measures], points,
        str(objective.model), fixed, repr(objective.layout), _function(objective.loss),
        repr(objective.calibration), data,
        str(objective.device), objective.strategy, torch.get_num_threads(), torch.__version__,
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


def _function(function: Any) -> str:
    """A name that tells functions apart, and the same one in another process."""
    if isinstance(function, torch.nn.Module | str):
        return str(function)
    return f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', function)}"
