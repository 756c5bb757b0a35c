"""Max-pooling as elementwise maxima of strided slices: bit-identical values, several times faster.

On CPUs torch's max-pooling kernel also keeps indices for a backward pass; in an evaluation they
are thrown away. The maximum of a few strided views is the same. A relu before pooling that tiles
may as well follow it, where it sees a fraction of the elements: it is monotone and changes no value
that it passes on.
"""

from __future__ import annotations

from functools import reduce
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from thalweg.objective.layers import is_hooked, with_layers_replaced


class SlicedMaxPool2d(nn.Module):
    """Maximum over windows, all of which begin inside the image.

    Args:
        kernel: height and width of a window.
        stride: from one window to the next; None: windows tile the image without overlap.
        ceil: whether a last window may reach beyond the image.

    Example:
        >>> x = torch.arange(16.0).reshape(1, 1, 4, 4)
        >>> torch.equal(SlicedMaxPool2d((2, 2))(x), nn.MaxPool2d(2)(x))
        True
        >>> torch.equal(SlicedMaxPool2d((3, 3), (2, 2), True)(x),
        ...             nn.MaxPool2d(3, 2, ceil_mode=True)(x))
        True
    """

    def __init__(
        self, kernel: tuple[int, int], stride: tuple[int, int] | None = None, ceil: bool = False
    ) -> None:
        super().__init__()
        self.kernel, self.stride, self.ceil = kernel, stride or kernel, ceil

    @property
    def tiles(self) -> bool:
        """Whether every pixel lies in at most one window."""
        return self.stride == self.kernel and not self.ceil

    def forward(self, image: Tensor) -> Tensor:
        """Pool `[..., h, w]`."""
        if image.shape[-2] < self.kernel[0] or image.shape[-1] < self.kernel[1]:
            return F.max_pool2d(image, self.kernel, self.stride, ceil_mode=self.ceil)
        return self._along(self._along(image, -2), -1)

    def _along(self, image: Tensor, dim: int) -> Tensor:
        size, kernel, stride = image.shape[dim], self.kernel[dim], self.stride[dim]
        count = (size - kernel + (stride - 1 if self.ceil else 0)) // stride + 1
        if self.ceil and (count - 1) * stride >= size:
            count -= 1  # a window must begin inside
        parts = []
        for i in range(kernel):
            # Windows that have an i-th line; the last one may not.
            inside = min(count, (size - i + stride - 1) // stride)
            rows = slice(i, i + (inside - 1) * stride + 1, stride)
            parts.append(image[..., rows, :] if dim == -2 else image[..., rows])
        short = [part for part in parts if part.shape[dim] < count]
        whole = reduce(torch.maximum, (part for part in parts if part.shape[dim] == count))
        if not short:
            return whole
        first = whole.narrow(dim, 0, count - 1)
        rest = whole.narrow(dim, count - 1, 1)
        return torch.cat([reduce(torch.maximum, short, first), rest], dim)


# Layers that return memory of their own.
_OVERWRITABLE = (nn.Linear, nn.Conv1d, nn.Conv2d, SlicedMaxPool2d)


def with_fast_pooling(model: nn.Module) -> nn.Module:
    """A copy for evaluation with its max-pool layers replaced; the model if it has none."""
    return with_layers_replaced(model, _sliced)


def phases(image: Tensor, window: tuple[int, int]) -> Tensor:
    """Split an image into the `rows · columns` images whose elementwise maximum is its pooling.

    Args:
        image: `[n, ..., h, w]`.
        window: height and width of the tiling windows.

    Returns:
        `[n, rows · columns, ..., h // rows, w // columns]`.

    Example:
        >>> image = torch.arange(32.0).reshape(2, 1, 4, 4)
        >>> torch.equal(phases(image, (2, 2)).amax(1), SlicedMaxPool2d((2, 2))(image))
        True
    """
    rows, columns = window
    height, width = image.shape[-2] // rows * rows, image.shape[-1] // columns * columns
    image = image[..., :height, :width]
    parts = [image[..., i::rows, j::columns] for i in range(rows) for j in range(columns)]
    return torch.stack(parts, dim=1)


def pool_before_relu(module: fx.GraphModule) -> None:
    """Let tiling max-pooling go before the relu that feeds it, in a traced module, in place.

    Args:
        module: its graph is changed, and its max-pooling replaced by :class:`SlicedMaxPool2d`.

    Example:
        >>> module = fx.symbolic_trace(nn.Sequential(nn.ReLU(), nn.MaxPool2d(2)))
        >>> pool_before_relu(module)
        >>> [node.name for node in module.graph.nodes]
        ['input_1', 'pool_0', '_0', 'output']
    """
    graph = module.graph
    for node in list(graph.nodes):
        window = _window(node, module)
        if window is None:
            continue
        name = f"pool_{len([n for n, _ in module.named_children() if n.startswith('pool_')])}"
        module.add_submodule(name, SlicedMaxPool2d(window))
        source = node.args[0]
        if not isinstance(source, fx.Node):
            continue
        with graph.inserting_before(node):
            pool = graph.call_module(name, (source,))
        node.replace_all_uses_with(pool)
        graph.erase_node(node)
        alone = len(source.users) == 1 and _is_relu(source, module)
        if alone and len(source.all_input_nodes[0].users) == 1:
            pool.replace_all_uses_with(source)
            pool.replace_input_with(source, source.all_input_nodes[0])
            source.replace_input_with(source.all_input_nodes[0], pool)
            pool.append(source)
    module.recompile()


def relu_in_place(module: fx.GraphModule) -> None:
    """Let a relu overwrite the output of a layer that nothing else looks at, in a traced module.

    Args:
        module: its graph is changed; it is no longer fit for gradients.

    Example:
        >>> module = fx.symbolic_trace(nn.Sequential(nn.Linear(1, 2), nn.ReLU()))
        >>> relu_in_place(module)
        >>> [node.target for node in module.graph.nodes][2] is torch.relu_
        True
    """
    graph = module.graph
    for node in list(graph.nodes):
        if not _is_relu(node, module):
            continue
        source = node.all_input_nodes[0]
        layer = source.op == "call_module" and module.get_submodule(str(source.target))
        if len(source.users) == 1 and type(layer) in _OVERWRITABLE and not is_hooked(layer):
            with graph.inserting_before(node):
                relu = graph.call_function(torch.relu_, (source,))
            node.replace_all_uses_with(relu)
            graph.erase_node(node)
    module.recompile()


def _window(node: fx.Node, module: fx.GraphModule) -> tuple[int, int] | None:
    """The window of a node that pools windows which tile the image; None for any other."""
    if node.op == "call_module":
        layer = module.get_submodule(str(node.target))
        if isinstance(layer, SlicedMaxPool2d):
            return layer.kernel if layer.tiles else None
        return _pair(layer.kernel_size) if _tiles(layer) else None
    if node.op != "call_function" or node.target is not F.max_pool2d or len(node.args) > 2:
        return None
    given = dict(node.kwargs)
    kernel = node.args[1] if len(node.args) == 2 else given.pop("kernel_size", None)
    rest = nn.MaxPool2d(kernel, **given)  # type: ignore[arg-type]
    return _pair(rest.kernel_size) if _tiles(rest) else None


def _is_relu(node: fx.Node, module: fx.GraphModule) -> bool:
    if node.op == "call_module":
        layer = module.get_submodule(str(node.target))
        return type(layer) is nn.ReLU and not is_hooked(layer)
    functions = node.op == "call_function" and node.target in (F.relu, torch.relu)
    return functions or (node.op == "call_method" and node.target == "relu")


def _sliced(layer: nn.Module) -> nn.Module | None:
    if _tiles(layer):
        return SlicedMaxPool2d(_pair(layer.kernel_size))
    if not _is_plain(layer):
        return None
    return SlicedMaxPool2d(_pair(layer.kernel_size), _pair(layer.stride), bool(layer.ceil_mode))


def _tiles(layer: nn.Module) -> bool:
    return (
        _is_plain(layer) and _pair(layer.kernel_size) == _pair(layer.stride) and not layer.ceil_mode
    )


def _is_plain(layer: nn.Module) -> bool:
    """Whether a layer pools over whole lines of an image that is not padded."""
    return (
        type(layer) is nn.MaxPool2d
        and _pair(layer.padding) == (0, 0)
        and _pair(layer.dilation) == (1, 1)
        and not layer.return_indices
        and not is_hooked(layer)
    )


def _pair(size: Any) -> tuple[int, int]:
    """Height and width, from either form in which a layer keeps them."""
    return (size, size) if isinstance(size, int) else (size[0], size[1])
