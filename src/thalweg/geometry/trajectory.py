"""The way of a training through parameter space: recorded cheaply, saved, projected.

Li et al. 2018, Section 7: trajectories move in few dimensions, and principal components of the
recorded points show more of them than random directions do.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from thalweg.errors import InputError
from thalweg.parameters import IN_MEMORY, Layout, RowFile
from thalweg.paths import Polygonal, load_path, save_path

_STEPS = "steps"


class Trajectory:
    """Records the parameters of a model in training: a callback for a plain training loop.

    A record costs one copy of the trainable parameters, no gradient, no evaluation. Beyond 256 MB
    records wait in a temporary file, in the folder that TMPDIR names.

    Args:
        model: in training; it is only read.
        every: record at every so many calls.

    Raises:
        InputError: if `every` is below 1, or the model has nothing to train.

    Example:
        >>> model = nn.Linear(2, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> trajectory = Trajectory(model, every=2)
        >>> for _ in range(4):
        ...     trajectory()
        ...     optimizer.zero_grad()
        ...     model(torch.ones(1, 2)).square().sum().backward()
        ...     _ = optimizer.step()
        >>> trajectory.record()
        >>> trajectory.points.shape, trajectory.steps
        (torch.Size([3, 3]), (0, 2, 4))
    """

    def __init__(self, model: nn.Module, every: int = 1) -> None:
        if every < 1:
            raise InputError(f"expected to record at every 1 or more steps, got {every}")
        self.layout = Layout.of(model)
        self._model = model
        self._every = every
        self._calls = 0
        self._steps: list[int] = []
        self._rows: list[Tensor] = []
        self._file: RowFile | None = None

    def __call__(self) -> None:
        """Count a step; at every so many, record the parameters as they are."""
        if self._calls % self._every == 0:
            self._take()
        self._calls += 1

    def record(self) -> None:
        """Record the parameters now, such as after the last step, unless they just were."""
        if not self._steps or self._steps[-1] != self._calls:
            self._take()

    def _take(self) -> None:
        theta = self.layout.flatten(dict(self._model.named_parameters())).cpu()
        if (len(self._rows) + 1) * theta.nbytes <= IN_MEMORY:
            self._rows.append(theta)
        else:
            if self._file is None:
                self._file = RowFile(self.layout.size, self.layout.dtype)
                for row in self._rows:
                    self._file.append(row)
            self._file.append(theta)
        self._steps.append(self._calls)

    @property
    def steps(self) -> tuple[int, ...]:
        """At which step each point was recorded."""
        return tuple(self._steps)

    @property
    def points(self) -> Tensor:
        """`[n, p]`: the parameters recorded, in order; memory-mapped where they are many.

        Raises:
            InputError: if nothing was recorded.
        """
        if not self._steps:
            raise InputError("expected a trajectory with points, got none: call it in the loop")
        return torch.stack(self._rows) if self._file is None else self._file.mapped()

    def save(self, file: str | Path) -> None:
        """Write the points and their steps as one safetensors file, in the form of a path.

        Args:
            file: its name.

        Raises:
            InputError: if fewer than two points were recorded, or it cannot be written.
        """
        if len(self._steps) < 2:
            raise InputError(
                f"expected at least two recorded points to save, got {len(self._steps)}: record "
                "more often, or at the end with record()"
            )
        path = Polygonal(self.points, self.layout)
        save_path(path, file, {_STEPS: json.dumps(self._steps)})


def load_trajectory(file: str | Path) -> tuple[Polygonal, tuple[int, ...]]:
    """Read a saved trajectory.

    Args:
        file: written by :meth:`Trajectory.save`.

    Returns:
        The points as a polygonal path, and the step of each.

    Raises:
        InputError: if it is no trajectory.
    """
    path = load_path(file)
    with safe_open(file, framework="pt") as content:
        metadata = content.metadata() or {}
    steps = json.loads(metadata.get(_STEPS, "null"))
    if not isinstance(path, Polygonal) or not isinstance(steps, list):
        raise InputError(
            f"expected a trajectory with its steps in {file}, got a path without: save one with "
            "Trajectory.save"
        )
    return path, tuple(int(step) for step in steps)


def lightning_callback(trajectory: Trajectory) -> Any:
    """The same recorder as a callback for a Trainer of Lightning, where that is installed.

    Args:
        trajectory: of the module that is trained.

    Returns:
        A ``Callback`` that counts a step before each batch, and records after the last.

    Raises:
        InputError: if neither ``lightning`` nor ``pytorch_lightning`` can be imported.
    """
    base = _callback_class()

    def on_train_batch_start(self: Any, *arguments: Any) -> None:
        trajectory()

    def on_train_end(self: Any, *arguments: Any) -> None:
        trajectory.record()

    methods = {"on_train_batch_start": on_train_batch_start, "on_train_end": on_train_end}
    return type("TrajectoryCallback", (base,), methods)()


def _callback_class() -> type:
    from importlib import import_module
    from importlib.util import find_spec

    for package, module in (("lightning", "lightning.pytorch"), ("pytorch_lightning", "")):
        if find_spec(package) is not None:
            return import_module(module or package).Callback
    raise InputError(
        "expected Lightning to be installed, got neither lightning nor pytorch_lightning: install "
        "one, or call the trajectory in a loop of your own"
    )
