"""A chain of linear layers and smooth activations with a convex loss: values and curvatures.

**Rounding of a value.** With `A = max(|W(0)|, |W(1)|)` and `B` likewise for the bias, elementwise,
the exact outputs of a layer are at most `m' = A m + B` on the whole segment, if its inputs are at
most m in absolute value, and computed inputs within e of the exact ones give outputs within

    e' = A e + γ_{d + 40} (A (m + e) + B)

of the exact ones: γ_{d + 2} for an inner product of d terms with bias, in any order, and 24 u for
the rounding of the weights, which are within `12 u (|θ(0)| + |θ(1)|) <= 24 u A` of the exact ones
at t. An activation multiplies e by its Lipschitz constant and adds its own rounding. A loss of
slope L in the maximum norm then errs by at most L e and its rounding an example; the mean of `n q`
terms, all of one sign but for that error, in any order of summation, by γ_{n q + 32} of itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.func import functional_call

from thalweg.certify.boxes import Boxes, group
from thalweg.certify.convex_loss import ConvexLoss, convex_loss
from thalweg.certify.jets import Affine, Interval, push
from thalweg.certify.rounding import TINY, ULTIMATE, UNIT, gamma
from thalweg.certify.smooth_activation import Activation, activation_of
from thalweg.objective.batchnorm import tracked_layers
from thalweg.objective.chain import Elementwise, Flatten, Linear, chain_of

_VALUES = 1 << 17
"""Numbers of the widest layer computed together, so that they stay in the cache."""

_CHECKED = 16
"""Examples on which the chain is compared with the network's own code."""

_known: WeakKeyDictionary[Any, SmoothChain | str] = WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class SmoothChain:
    """What a proof by chords needs of an objective.

    Attributes:
        layers: linear layers and activations, in order; the first is linear.
        loss: whose mean is the criterion, or its logarithm.
        layout: from flat vectors to named tensors.
        inputs: `[d, n]`, float64.
        target: `[outputs, n]`, float64, or labels `[n]`.
        boxes: of the inputs.
        width: features of the widest layer.
        outputs: of the network.
    """

    layers: tuple[Linear | Activation, ...]
    loss: ConvexLoss
    layout: Any
    inputs: Tensor
    target: Tensor
    boxes: Boxes
    width: int
    outputs: int

    @classmethod
    def of(cls, objective: Any) -> SmoothChain | str:
        """The chain of an objective, or a few words that say why it is none; kept for later.

        Args:
            objective: model, loss, data and criterion.
        """
        found = _known.get(objective)
        if found is None:
            found = _known[objective] = _make(objective.double())
        return found

    @property
    def examples(self) -> int:
        """Number `n` of examples."""
        return self.inputs.shape[1]

    def values(self, stack: Tensor) -> Tensor:
        """Mean losses `[k]` of a stack `[k, p]` in float64."""
        models = max(1, _VALUES // max(self.width * self.examples, stack.shape[1]))
        size = max(1, _VALUES // (self.width * models))
        found = [
            sum(
                self.loss.total(
                    self._outputs(rows, self.inputs[:, i : i + size]),
                    self.target[..., i : i + size],
                )
                for i in range(0, self.examples, size)
            )
            for rows in stack.split(models)
        ]
        return torch.cat([torch.as_tensor(part) for part in found]) / self.examples

    def errors(self, start: Tensor, end: Tensor) -> tuple[Tensor, float]:
        """A-priori bounds of the errors of values anywhere on segments.

        Args:
            start: `[k, p]`.
            end: `[k, p]`.

        Returns:
            An absolute error `[k]`, and a relative one.
        """
        most = self.layout.unflatten(torch.maximum(start.abs(), end.abs()))
        size = self.inputs.abs().amax(1).expand(len(start), -1)
        error = torch.zeros_like(size)
        for layer in self.layers:
            if isinstance(layer, Activation):
                size, error = layer.errors(size, error)
                continue
            weight = most[layer.weight]
            terms = weight.shape[2] + 40
            bias = 0 if layer.bias is None else most[layer.bias]
            error_in = (weight @ error[:, :, None])[:, :, 0]
            size = (weight @ size[:, :, None])[:, :, 0] + bias
            error = error_in + gamma(terms) * (size + error_in)
            grow = 1 + gamma(2 * terms)
            size, error = size * grow, error * grow + TINY
        size, error = (size + error).amax(1), error.amax(1)
        target = float(self.target.abs().max())
        absolute = self.loss.slope(size, target) * error
        absolute = absolute + self.loss.rounding(size, target, self.outputs)
        relative = 2 * gamma(self.examples * self.outputs + 32)
        return absolute * (1 + 2 * relative), relative

    def curvatures(self, start: Tensor, end: Tensor, left: Tensor, right: Tensor) -> Tensor:
        """Upper bounds of the mean of `-s · g''` over pieces; see :mod:`thalweg.certify.chord`.

        Args:
            start: `[k, p]`, at t = 0.
            end: `[k, p]`, at t = 1.
            left: `[k]`, where each piece begins.
            right: `[k]`, where it ends.

        Returns:
            `[k]`; infinite where nothing is known.
        """
        pieces = max(1, _VALUES // max(self.width * len(self.boxes.share), start.shape[1]))
        parts = zip(*(x.split(pieces) for x in (start, end, left, right)), strict=True)
        return torch.cat([self._curvatures(*part) for part in parts])

    def _curvatures(self, start: Tensor, end: Tensor, left: Tensor, right: Tensor) -> Tensor:
        output, second = self.enclose(start, end, left, right)
        each = self.loss.curvature(output, second, self.boxes) * self.boxes.share
        total = each.sum(1) + (each.abs().sum(1) + TINY) * ULTIMATE
        return total.nan_to_num(nan=torch.inf, posinf=torch.inf)

    def enclose(
        self, start: Tensor, end: Tensor, left: Tensor, right: Tensor
    ) -> tuple[Interval, Interval]:
        """Outputs and their second derivatives by t over pieces and boxes.

        Args:
            start: see :meth:`curvatures`.
            end: see :meth:`curvatures`.
            left: see :meth:`curvatures`.
            right: see :meth:`curvatures`.

        Returns:
            Two intervals `[k, outputs, boxes]`.
        """
        middle = (left + right) / 2
        half = (right - left) / 2 * (1 + 8 * UNIT) + UNIT
        slope = end - start
        center = start + slope * middle[:, None]
        spread = (start.abs() + end.abs()) * (12 * UNIT) + TINY
        parts = [self.layout.unflatten(part) for part in (center, slope, spread)]
        layers = [
            layer if isinstance(layer, Activation) else _affine(layer, parts)
            for layer in self.layers
        ]
        return push(layers, self.boxes.inputs, half)

    def _outputs(self, stack: Tensor, inputs: Tensor) -> Tensor:
        """Outputs `[k, outputs, n]` for inputs `[d, n]`."""
        tensors = self.layout.unflatten(stack)
        hidden = inputs.expand(len(stack), -1, -1)
        for layer in self.layers:
            if isinstance(layer, Activation):
                hidden = layer.function(hidden)
                continue
            hidden = torch.bmm(tensors[layer.weight], hidden)
            if layer.bias is not None:
                hidden += tensors[layer.bias][:, :, None]
        return hidden


def _affine(layer: Linear, parts: list[dict[str, Tensor]]) -> Affine:
    weight, weight_slope, weight_spread = (part[layer.weight] for part in parts)
    if layer.bias is None:
        return Affine(weight, weight_slope, weight_spread)
    bias, bias_slope, bias_spread = (part[layer.bias][:, :, None] for part in parts)
    return Affine(weight, weight_slope, weight_spread, bias, bias_slope, bias_spread)


def _make(twin: Any) -> SmoothChain | str:
    """The chain of an objective in float64, or why it is none."""
    layers = _layers(twin)
    if isinstance(layers, str):
        return layers
    if twin.criterion.name == "error_rate":
        return "an error rate is not a mean of convex functions"
    loss = convex_loss(twin.criterion.per_example(twin.loss))
    if loss is None:
        return "the loss is not one of torch's convex losses at its plain settings"
    split = twin.splits[twin.criterion.split]
    inputs = split.inputs[0]
    if len(split.inputs) != 1 or not inputs.is_floating_point() or inputs.ndim < 2:
        return "the network does not have one input of real numbers, a vector an example"
    inputs = inputs.flatten(1)
    shapes = dict(zip(twin.layout.names, twin.layout.shapes, strict=True))
    linear = [layer for layer in layers if isinstance(layer, Linear)]
    if shapes[linear[0].weight][1] != inputs.shape[1]:
        return "the first linear layer does not see flat inputs"
    outputs = shapes[linear[-1].weight][0]
    if not loss.fits(outputs, split.target):
        return "the targets do not fit the outputs of the network one to one"
    target = split.target if split.target.is_floating_point() else split.target.long()
    boxes = group(inputs, target)
    if isinstance(boxes, str):
        return boxes
    chain = SmoothChain(
        tuple(layers), loss, twin.layout, inputs.T.contiguous(), target.t().contiguous(), boxes,
        width=max(inputs.shape[1], *(shapes[layer.weight][0] for layer in linear)),
        outputs=outputs,
    )  # fmt: skip
    return chain if _agrees(chain, twin, split) else "the chain is not what the network computes"


def _layers(twin: Any) -> list[Linear | Activation] | str:
    if tracked_layers(twin.model):
        return "statistics of BatchNorm are estimated anew for every θ"
    try:
        steps = chain_of(twin.model)
    except RuntimeError as error:
        return f"the network {error}"
    layers: list[Linear | Activation] = []
    for step in steps:
        if isinstance(step, Elementwise):
            activation = activation_of(step)
            if isinstance(activation, str):
                return activation
            if activation is not None:
                layers.append(activation)
        elif isinstance(step, Linear):
            for name in (step.weight, step.bias):
                if name is not None and name not in twin.layout.names:
                    return f"'{name}' is frozen, or shared under another name"
            layers.append(step)
        elif not isinstance(step, Flatten):
            return f"the network {step}"
    if not layers or not isinstance(layers[0], Linear):
        return "the network does not begin with a linear layer"
    return layers


def _agrees(chain: SmoothChain, twin: Any, split: Any) -> bool:
    """Whether chain and network agree on a few examples: hooks may change what code does."""
    inputs, _ = split.select(slice(_CHECKED))
    theta = twin.layout.flatten(dict(twin.model.named_parameters()))
    with torch.no_grad():
        ours = chain._outputs(theta[None], chain.inputs[:, :_CHECKED])[0].T
        truth = functional_call(twin.model, twin.layout.unflatten(theta), (inputs,))
    return ours.shape == truth.shape and torch.allclose(ours, truth, rtol=1e-9, atol=1e-12)
