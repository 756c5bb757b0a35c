"""BatchNorm away from the trained weights: statistics estimated anew for every θ.

Running statistics are part of evaluation, not of θ. Between two models neither model's statistics
fit, so that a loss evaluated with either says nothing of the network in between. As in stochastic
weight averaging (Izmailov et al. 2018, Section 3.2) and curve finding (Garipov et al. 2018,
Appendix A.2) they are taken anew from training data: the cumulative averages of the means and
unbiased variances of fixed, seeded batches.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from thalweg.errors import InputError
from thalweg.objective.splits import Split

_BatchNorm = nn.modules.batchnorm._BatchNorm


@dataclass(frozen=True)
class Calibration:
    """Which training data re-estimate the statistics of BatchNorm.

    Attributes:
        examples: how many, the first of the seeded order of the split; a last batch that would
            hold a single one is left out.
        batch_size: examples a batch.

    Raises:
        InputError: if either is below two.
    """

    examples: int = 2048
    batch_size: int = 256

    def __post_init__(self) -> None:
        if self.examples < 2 or self.batch_size < 2:
            raise InputError(
                "expected at least two examples and a batch of two to estimate BatchNorm "
                f"statistics, got {self.examples} and {self.batch_size}"
            )


class Statistics:
    """Estimates running statistics of a model's BatchNorm layers as a function of θ.

    Args:
        model: a module whose BatchNorm layers track running statistics; it is not changed.
        split: training data.
        calibration: how much of it.

    Raises:
        InputError: if the split holds a single example.
    """

    def __init__(self, model: nn.Module, split: Split, calibration: Calibration) -> None:
        self._model = copy.deepcopy(model).eval()
        examples = min(calibration.examples, len(split))
        if examples < 2:
            raise InputError(
                "expected at least two training examples to estimate BatchNorm statistics, got 1"
            )
        # A last batch of one example has no variance: it is left out.
        examples -= examples % calibration.batch_size == 1
        self._split = split.take(examples)
        self._batch_size = calibration.batch_size
        self._fresh: dict[str, Tensor] = {}
        for name, layer in tracked_layers(self._model).items():
            layer.train()
            layer.momentum = None  # cumulative average over the batches
            prefix = f"{name}." if name else ""
            for buffer, value in layer.named_buffers(recurse=False):
                start = torch.ones_like if buffer == "running_var" else torch.zeros_like
                self._fresh[prefix + buffer] = start(value)

    def estimate(self, parameters: dict[str, Tensor]) -> dict[str, Tensor]:
        """Buffers of all BatchNorm layers for one set of parameters.

        Args:
            parameters: name to tensor, of one model.
        """
        buffers = {name: value.clone() for name, value in self._fresh.items()}
        with torch.no_grad():
            for inputs, _ in self._split.chunks(self._batch_size):
                arguments = inputs if isinstance(inputs, tuple) else (inputs,)
                functional_call(self._model, {**parameters, **buffers}, arguments)
        return buffers

    @property
    def examples(self) -> int:
        """Examples that one estimate runs through the model."""
        return len(self._split)


def tracked_layers(model: nn.Module) -> dict[str, nn.modules.batchnorm._BatchNorm]:
    """The BatchNorm layers whose evaluation uses running statistics, by name."""
    return {
        name: layer
        for name, layer in model.named_modules()
        if isinstance(layer, _BatchNorm) and layer.running_mean is not None
    }


def training_copy(model: nn.Module) -> nn.Module:
    """A copy in training mode whose BatchNorm layers use the batch's statistics and keep none."""
    model = copy.deepcopy(model).train()
    for layer in tracked_layers(model).values():
        layer.track_running_stats = False
        layer.running_mean = layer.running_var = layer.num_batches_tracked = None
    return model
