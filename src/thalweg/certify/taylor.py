"""Taylor models along a segment: tensors that carry a proved band around a line.

Along θ(s) = center + s · direction with the parameter scaled to |s| <= 1, every number computed
by a network is enclosed as

    value + slope · s ± remainder,    for all |s| <= 1,

elementwise, with `remainder >= 0`: a Taylor model of first order (Berz & Makino 1998, *Verified
integration of ODEs and flows using differential algebraic methods*; Makino & Berz 2003, *Taylor
models and other validated functional inclusion methods*). The network's own code computes with
them: a :class:`TaylorModel` is a tensor to Python, and ``__torch_function__`` sends every torch
function to the rule of its name. What has no rule raises :class:`UnsupportedOperation`; nothing
is ever passed through unbounded.

Values are float64. Remainders contain the rounding errors of everything computed, so that the
enclosure holds for the exact real function of the stored weights and data;
:mod:`thalweg.certify.rounding` states the assumptions.
"""

from __future__ import annotations

import functools
import importlib
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from thalweg.certify.origins import Origin
from thalweg.certify.rounding import charge
from thalweg.errors import InputError

if TYPE_CHECKING:
    from thalweg.certify.parabola import Parabola

Rule = Callable[..., Any]

_FAMILIES = (
    "algebra", "linear", "shape", "activation", "smooth", "convolution", "maximum",
    "normalization", "attention", "recurrent", "loss",
)  # fmt: skip
_RULES: dict[str, Rule] = {}

# Read from the wrapper itself: they concern shape and type, not numbers.
_METADATA = {
    "shape", "dtype", "device", "ndim", "is_cuda", "is_cpu", "requires_grad", "layout", "is_nested",
    "is_sparse", "is_quantized", "is_meta", "is_mps", "is_leaf", "names", "itemsize", "nbytes",
    "size", "dim", "numel", "nelement", "is_floating_point", "is_complex", "element_size",
    "ndimension", "__len__", "__hash__", "is_mkldnn", "is_xla", "is_contiguous", "stride",
    "is_same_size", "is_inference",
}  # fmt: skip


class UnsupportedOperation(InputError):
    """A torch function without a rule, or used in a way that its rule does not cover.

    Attributes:
        operation: name of the torch function.
        module: path of the submodule that called it, ``""`` for the model itself or the loss;
            None while unknown.
        detail: what in particular is not covered, or ``""``.
    """

    def __init__(self, operation: str, detail: str = "", module: str | None = None) -> None:
        self.operation = operation
        self.detail = detail
        self.module = module
        super().__init__()

    def __str__(self) -> str:
        where = "" if self.module is None else f" in module '{self.module or '(root)'}'"
        detail = f" ({self.detail})" if self.detail else ""
        return (
            f"expected operations with a rule for proved bounds, got '{self.operation}'{detail}"
            f"{where}; add a rule or use the sampled certificate"
        )


@dataclass(frozen=True, eq=False)
class _Parts:
    """What a model of first order consists of; see :class:`TaylorModel`."""

    value: Tensor
    slope: Tensor | None
    remainder: Tensor | None
    origin: Origin | None = None


class TaylorModel(Tensor):
    """A tensor `value + slope · s ± remainder` for all |s| <= 1.

    Args:
        value: float64, `[...]`.
        slope: of the same shape; None: zero.
        remainder: non-negative, of the same shape; None: zero.

    Example:
        >>> from thalweg.certify.ranges import bounds
        >>> weight = TaylorModel(torch.tensor([1.0, -1.0]).double(), torch.tensor([0.5, 0.25]))
        >>> lower, upper = bounds(torch.relu(2 * weight))
        >>> bool((lower <= torch.tensor([1.0, 0.0])).all() and upper[0] >= 3)
        True
    """

    logits: TaylorModel | None
    second: Parabola | None
    _parts: _Parts | None
    _first: Callable[[], TaylorModel] | None
    family: list[weakref.ref[TaylorModel]]
    cache: dict[str, Any]

    @staticmethod
    def __new__(
        cls: type[TaylorModel],
        value: Tensor,
        slope: Tensor | None = None,
        remainder: Tensor | None = None,
    ) -> TaylorModel:
        """Wrap the parts."""
        # The wrapper has shape and type but no storage: numbers live in its attributes.
        self = Tensor._make_wrapper_subclass(
            cls, value.shape, dtype=torch.float64, device=value.device
        )
        slope = None if slope is None else slope.to(torch.float64)
        remainder = None if remainder is None else remainder.to(torch.float64)
        self._parts = _Parts(value.to(torch.float64), slope, remainder)
        self._first = None
        self._begin()
        return self

    @classmethod
    def deferred(cls, second: Parabola, first: Callable[[], TaylorModel]) -> TaylorModel:
        """Numbers known to second order, of which the rest is worked out when it is asked for.

        Args:
            second: the numbers, for rules that make use of their term in s².
            first: makes their model of first order, for all others.
        """
        self = cls.later(second.noise.shape, second.noise.device, first)
        self.second = second
        return self

    @classmethod
    def later(
        cls, shape: torch.Size, device: torch.device, first: Callable[[], TaylorModel]
    ) -> TaylorModel:
        """Numbers whose model is worked out when it is asked for, and kept.

        Args:
            shape: of the numbers.
            device: where they are.
            first: makes the model.
        """
        self = Tensor._make_wrapper_subclass(cls, shape, dtype=torch.float64, device=device)
        self._parts = None
        self._first = functools.cache(first)
        self._begin()
        return self

    def _begin(self) -> None:
        self.logits = self.second = None
        self.family = [weakref.ref(self)]
        self.cache = {}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def first_order_later(self) -> Callable[[], TaylorModel]:
        """Makes a model of first order of the numbers as they are now."""
        assert self._first is not None, "only what is deferred knows a term in s²"
        return self._first

    def _known(self) -> _Parts:
        if self._parts is None:
            assert self._first is not None
            self._parts = self._first()._known()
        return self._parts

    @property
    def value(self) -> Tensor:
        """At the centre."""
        return self._known().value

    @property
    def slope(self) -> Tensor | None:
        """Change over half of the interval; None: zero."""
        return self._known().slope

    @property
    def remainder(self) -> Tensor | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Distance to the line at most; None: zero."""
        return self._known().remainder

    @property
    def origin(self) -> Origin | None:
        """Where the remainder comes from, as far as that is known."""
        return self._known().origin

    @origin.setter
    def origin(self, origin: Origin | None) -> None:
        self._parts = replace(self._known(), origin=origin)

    def __repr__(self) -> str:  # pyright: ignore[reportIncompatibleMethodOverride]
        return f"TaylorModel(shape={list(self.shape)})"

    @classmethod
    def __torch_dispatch__(
        cls,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Whatever slips past ``__torch_function__`` has no rule."""
        raise UnsupportedOperation(str(func))

    @classmethod
    def __torch_function__(
        cls,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Send a torch function to the rule of its name."""
        kwargs = kwargs or {}
        name = func.__name__
        if name == "__get__":
            name = func.__self__.__name__
        if name in _METADATA:
            with torch._C.DisableTorchFunctionSubclass():
                return func(*args, **kwargs)
        rules = all_rules()
        rule = rules.get(name)
        in_place = kwargs.pop("inplace", False)
        if rule is None and name.endswith("_") and not name.endswith("__"):
            rule, in_place = rules.get(name[:-1]), True
        if rule is None and name.startswith("__i"):
            rule, in_place = rules.get(f"__{name[3:]}"), True
        if rule is None or kwargs.pop("out", None) is not None:
            raise UnsupportedOperation(name)
        try:
            result = rule(*args, **kwargs)
        except TypeError as error:
            raise UnsupportedOperation(name, f"arguments: {error}") from error
        return _overwrite(args[0], result, name) if in_place else result


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Register the rule of torch functions, methods or operators of these names.

    Args:
        names: as in ``func.__name__``; torch, ``torch.nn.functional`` and ``Tensor`` share names.

    Returns:
        A decorator that returns the function unchanged.
    """

    def register(function: Rule) -> Rule:
        for name in names:
            _RULES[name] = function
        return function

    return register


@functools.cache
def all_rules() -> dict[str, Rule]:
    """Every rule by name of the torch function."""
    for family in _FAMILIES:
        importlib.import_module(f"thalweg.certify.rules_{family}")
    return _RULES


def as_model(value: Any) -> TaylorModel:
    """A Taylor model of anything that may stand in an expression; tensors are constants."""
    if isinstance(value, TaylorModel):
        return value
    if isinstance(value, Tensor):
        return TaylorModel(value)
    return TaylorModel(torch.tensor(float(value), dtype=torch.float64))


def widened(
    value: Tensor, slope: Tensor | None, remainder: Tensor | None, units: float = 1
) -> TaylorModel:
    """A model widened by `units` roundoffs of its value and slope."""
    return TaylorModel(value, slope, charge(remainder, units, value, slope))


def plus(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    """Sum of two parts, None standing for zero."""
    if a is None or b is None:
        return a if b is None else b
    return a + b


def parts_of(x: TaylorModel) -> tuple[Tensor, Tensor, Tensor]:
    """Value, slope and remainder, zeros for None."""
    slope, noise = (
        torch.zeros_like(x.value) if part is None else part for part in (x.slope, x.remainder)
    )
    return x.value, slope, noise


def snapshot(x: TaylorModel) -> TaylorModel:
    """The same numbers, whatever happens to `x` in place later."""
    if x.second is not None:
        return TaylorModel.deferred(x.second, x.first_order_later())
    return TaylorModel(x.value, x.slope, x.remainder)


def structural(function: Callable[[Tensor], Any], x: TaylorModel) -> Any:
    """Apply an operation that only rearranges elements to all parts of a model.

    Args:
        function: from a tensor to a tensor or a sequence of tensors.
        x: the model.

    Returns:
        One model, or a tuple of models.
    """
    return moved(x, function, lambda first: _structural(function, first))


def moved(
    x: TaylorModel, function: Callable[[Tensor], Any], first_order: Callable[[TaylorModel], Any]
) -> Any:
    """A rearrangement of a model, to second order where that is known.

    Args:
        x: the model.
        function: as in :func:`structural`.
        first_order: makes the result from a model of first order.
    """
    if x.second is None or (second := x.second.moved(function)) is None:
        return first_order(x)
    first = x.first_order_later()
    return _related(TaylorModel.deferred(second, lambda: first_order(first())), x)


def _structural(function: Callable[[Tensor], Any], x: TaylorModel) -> Any:
    value = function(x.value)
    parts = [None if part is None else function(part) for part in (x.slope, x.remainder)]
    if isinstance(value, Sequence):
        columns = [[None] * len(value) if part is None else part for part in parts]
        pieces = zip(value, *columns, strict=True)
        return tuple(_related(TaylorModel(*piece), x) for piece in pieces)
    return _related(TaylorModel(value, *parts), x)


def _related(result: TaylorModel, x: TaylorModel) -> TaylorModel:
    """Remember that a result may be a view of `x`, which forbids changing either in place."""
    x.family.append(weakref.ref(result))
    result.family = x.family
    return result


def _overwrite(x: Any, result: Any, name: str) -> Any:
    """In-place operation: give the object the result's numbers, if nothing else sees the old."""
    if not isinstance(x, TaylorModel) or not isinstance(result, TaylorModel):
        raise UnsupportedOperation(name, "in place into a constant")
    if "parameter" in x.cache:
        raise UnsupportedOperation(name, "in place into a parameter")
    alive = sum(reference() is not None for reference in x.family)
    if alive > 1 or result.value.shape != x.value.shape:
        raise UnsupportedOperation(name, "in place into a tensor with views")
    x._parts, x._first, x.second = result._parts, result._first, result.second
    x.logits, x.cache = None, {}
    return x


def locate(error: BaseException, model: nn.Module) -> str | None:
    """Path of the innermost submodule in whose code an exception arose.

    Args:
        error: with its traceback.
        model: the module whose submodules are searched.

    Returns:
        The dotted path, ``""`` for the model itself, or None when no module was active.
    """
    paths = {id(module): name for name, module in model.named_modules()}
    found = None
    trace = error.__traceback__
    while trace is not None:
        owner = trace.tb_frame.f_locals.get("self")
        if isinstance(owner, nn.Module) and id(owner) in paths:
            found = paths[id(owner)]
        trace = trace.tb_next
    return found
