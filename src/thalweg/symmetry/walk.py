"""Walk through a network's graph and find out which units stand where.

The graph is the one that torch.fx traces. Each operation has a rule, found by the class of a
module, by a function or by the name of a tensor's method; the rules are in the files ``rules_*``.
What has no rule keeps in place all units that it sees: a smaller group, never a wrong one.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, fx, nn

from thalweg.errors import InputError
from thalweg.objective.layers import is_hooked
from thalweg.symmetry.labels import (
    FIXED,
    UNIFORM,
    Block,
    Classes,
    Labelled,
    Own,
    labels_of,
    tensors_in,
    values_of,
)

Action = Literal["permute", "rescale"]


@dataclass(frozen=True, eq=False)
class Call:
    """One operation of the graph.

    Attributes:
        walk: in which it occurs.
        module: whose call it is; None: of a function or a method.
        run: computes it on plain tensors.
        args: its arguments, tensors as :class:`Labelled` or :class:`Own`.
        kwargs: likewise.
        value: its result, with plain tensors.
    """

    walk: Walk
    module: Any
    run: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    value: Any

    @property
    def classes(self) -> Classes:
        """Of the walk."""
        return self.walk.classes

    def argument(self, index: int, name: str, default: Any = None) -> Any:
        """An argument by its position or its name."""
        return self.args[index] if index < len(self.args) else self.kwargs.get(name, default)

    @property
    def first(self) -> Labelled:
        """The tensor that the operation is about."""
        return self.walk.labelled(self.argument(0, "input"))

    def same_on_labels(self) -> Any:
        """What the operation makes of the labels: for operations that only rearrange."""
        return self.run(*labels_of(self.args), **dict(labels_of(dict(self.kwargs))))  # type: ignore[arg-type]


Rule = Callable[[Call], Any]


class Walk(fx.Interpreter):
    """Runs a network on a few examples with labels beside all values.

    Args:
        model: in evaluation mode; it is not changed.
        action: ``"permute"`` to find units that can change places, ``"rescale"`` units whose
            size is free.
        modules: rules by class of module.
        functions: rules by function, or name of a tensor's method.

    Attributes:
        classes: of units.
        blocks: where units stand on the tensors of the network.
        sets: units that an operation sees, and how often it sees each: only units that pass
            through the same operations can change places.
        seen: by layers: node, axis of its value and labels along it.
        fixed_by: operations that keep units in place for want of a rule.
    """

    def __init__(
        self,
        model: nn.Module,
        action: Action,
        modules: Mapping[type, Rule],
        functions: Mapping[object, Rule],
    ) -> None:
        super().__init__(trace(model))
        self.action = action
        self.classes = Classes()
        self.blocks: dict[tuple[object, ...], Block] = {}
        self.sets: list[tuple[Tensor, Tensor]] = []
        self.seen: list[tuple[str, int, Tensor]] = []
        self.fixed_by: list[str] = []
        self._modules, self._functions = modules, functions
        self._held: set[str] = set()
        self._node = self._looked_at = ""
        named = [*model.named_parameters(remove_duplicate=True), *model.named_buffers()]
        self._names = {id(tensor): name for name, tensor in named}
        self._movable = {n for n, p in model.named_parameters() if p.requires_grad}
        for name, layer in model.named_modules():
            if isinstance(layer, nn.modules.batchnorm._NormBase):
                prefix = f"{name}." if name else ""
                self._movable |= {prefix + "running_mean", prefix + "running_var"}

    def follow(self, *inputs: Tensor) -> Walk:
        """Run the network on a few examples, whose elements stay in place; the walk itself."""
        given = [Labelled(t, torch.full(t.shape, FIXED)) for t in inputs]
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the network's own operations: not ours to report
            result = self.run(*given)
        for tensor in tensors_in(result):
            self.classes.fix(self.labelled(tensor).labels)
        self._settle()
        return self

    # ------------------------------------------------------- what rules do

    def own(self, tensor: Tensor | None) -> Own | None:
        """A tensor of the network, by itself."""
        return None if tensor is None else Own(tensor, self._names.get(id(tensor), ""))

    def labelled(self, value: Any) -> Labelled:
        """A tensor with labels; one of the network's own gets them here, element by element."""
        if isinstance(value, Labelled):
            return value
        if not isinstance(value, Own):
            return self.constant(torch.as_tensor(value))
        if value.name not in self._movable:
            return self.constant(value.value)
        labels = self.classes.fresh(value.value.numel())
        self.stand(value, labels, axis=None, power=1)
        return Labelled(value.value, self._block_labels(value, None).reshape(value.value.shape))

    def constant(self, value: Tensor) -> Labelled:
        """A tensor that no parameter moves."""
        same = value.numel() > 0 and bool((value == value.flatten()[0]).all())
        if self.action == "rescale":  # zero, of all constants, is right at every scale
            same = same and not value.flatten()[0]
        return Labelled(value, torch.full(value.shape, UNIFORM if same else FIXED))

    def stand(
        self,
        own: Own | None,
        labels: Tensor,
        *,
        axis: int | None = 0,
        power: int,
        rows: tuple[int, int] | None = None,
    ) -> None:
        """Record that units stand along an axis of a tensor of the network.

        Args:
            own: the tensor; None: there is none, as for a layer without bias.
            labels: `[d]`.
            axis: of the tensor, or of its part; None: of the tensor as a flat vector.
            power: see :class:`Block`.
            rows: the part of the tensor; None: all of it.
        """
        if own is None:
            return
        if own.name not in self._movable:
            self.classes.fix(labels)
            return
        if axis is None and own.value.ndim == 1:
            axis = 0
        key = own.name, rows, axis
        before = self.blocks.get(key)
        if before is not None:
            labels = self.classes.unite(torch.tensor(before.labels), labels)
            if self.action == "rescale" and before.power != power:
                self.classes.fix(labels)
            power = before.power
        self.blocks[key] = Block(own.name, rows, axis, tuple(labels.tolist()), power)

    def hold(self, own: Own | None) -> None:
        """Let a tensor of the network stay as it is."""
        if own is not None:
            self._held.add(own.name)

    def look(self, labels: Tensor, axis: int) -> None:
        """Record that a layer sees units along an axis of its first argument."""
        self.seen.append((self._looked_at, axis, labels))

    def treat_alike(self, labels: Tensor) -> None:
        """Record that an operation treats these units alike, and others differently.

        Args:
            labels: of any shape.
        """
        self.sets.append(labels.unique(return_counts=True))

    def fallback(self, call: Call) -> Any:
        """Keep in place whatever an operation sees: right for every operation."""
        for tensor in tensors_in([call.args, dict(call.kwargs)]):
            if isinstance(tensor, Own):
                self.hold(tensor)
            else:
                self.classes.fix(tensor.labels)
        if call.module is not None:
            for tensor in call.module.parameters():
                self.hold(self.own(tensor))
        self.fixed_by.append(self._node)
        return fixed(call.value)

    # ---------------------------------------------------------- the graph

    def run_node(self, n: fx.Node) -> Any:
        """Run one node, and remember its name."""
        self._node = f"{n.target}" if n.op in ("call_module", "call_method") else n.name
        self._looked_at = n.all_input_nodes[0].name if n.all_input_nodes else ""
        return super().run_node(n)

    def get_attr(self, target: Any, args: Any, kwargs: Any) -> Any:
        """A tensor of the network, or one that tracing found to be constant."""
        value = super().get_attr(target, args, kwargs)
        if not isinstance(value, Tensor):
            return value
        if id(value) in self._names:
            return self.own(value)
        if value.requires_grad:
            raise InputError(
                f"expected every parameter to be used as it is, got one that the model's forward "
                f"computes before use ('{target}'): its symmetries cannot be read off the graph"
            )
        return self.constant(value)

    def call_module(self, target: Any, args: Any, kwargs: Any) -> Any:
        """A layer."""
        module = self.fetch_attr(target)
        rule = None if is_hooked(module) else self._modules.get(type(module))
        return self._apply(rule, module, module, args, kwargs)

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        """A function."""
        return self._apply(self._functions.get(target), None, target, args, kwargs)

    def call_method(self, target: Any, args: Any, kwargs: Any) -> Any:
        """A method of a tensor."""

        def run(own: Any, *rest: Any, **named: Any) -> Any:
            return getattr(own, target)(*rest, **named)

        return self._apply(self._functions.get(target), None, run, args, kwargs)

    def _apply(self, rule: Rule | None, module: Any, run: Any, args: Any, kwargs: Any) -> Any:
        plain = values_of(dict(kwargs))
        value = run(*values_of(tuple(args)), **plain)  # type: ignore[arg-type, call-overload]
        call = Call(self, module, run, tuple(args), kwargs, value)
        for tensor in tensors_in([args, kwargs]):
            if isinstance(tensor, Labelled):
                self.treat_alike(tensor.labels)
        if module is None and not list(tensors_in([args, kwargs])):
            return self.constant(value) if isinstance(value, Tensor) else value
        return self.fallback(call) if rule is None else rule(call)

    # ---------------------------------------------------------------- end

    def _block_labels(self, own: Own, axis: int | None) -> Tensor:
        axis = 0 if axis is None and own.value.ndim == 1 else axis
        return torch.tensor(self.blocks[own.name, None, axis].labels)

    def _settle(self) -> None:
        """Fix what stands on a tensor that must stay, or that two uses see in different ways."""
        kinds: dict[str, set[object]] = {}
        for block in self.blocks.values():
            kind = "flat" if block.axis is None else "rows" if block.rows else "axes"
            kinds.setdefault(block.name, set()).add(kind)
        for block in self.blocks.values():
            if block.name in self._held or len(kinds[block.name]) > 1:
                self.classes.fix(torch.tensor(block.labels))


def fixed(value: Any) -> Any:
    """A result with all its elements in place."""
    if isinstance(value, Tensor):
        return Labelled(value, torch.full(value.shape, FIXED))
    if isinstance(value, tuple | list):
        return tuple(fixed(part) for part in value)
    return value


def trace(model: nn.Module) -> fx.GraphModule:
    """The graph of a model.

    Args:
        model: it is not changed.

    Raises:
        InputError: naming the module in which tracing ended.
    """
    tracer = _Tracer()
    try:
        with torch.enable_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return fx.GraphModule(model, tracer.trace(model))
    except Exception as error:  # fx raises whatever the traced code raises on symbolic values
        where = f"'{tracer.inside}' ({tracer.kind})" if tracer.inside else type(model).__name__
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise InputError(
            f"expected a model whose graph torch.fx can trace, got {reason} in {where}: remove "
            "control flow that depends on the data from its forward"
        ) from error


class _Tracer(fx.Tracer):
    """Remembers in which module it is."""

    inside = ""
    kind = ""

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        """Trace into a module; the name stays where that raises."""
        outside = self.inside, self.kind
        self.inside, self.kind = self.path_of_module(m), type(m).__name__
        result = super().call_module(m, forward, args, kwargs)
        self.inside, self.kind = outside
        return result
