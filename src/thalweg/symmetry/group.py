"""The permutations of a network's units that leave its function as it is."""

from __future__ import annotations

import copy
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from thalweg.errors import InputError
from thalweg.symmetry import rules_elementwise, rules_layers, rules_recurrent
from thalweg.symmetry.labels import FIXED, Block
from thalweg.symmetry.walk import Action, Walk

Tensors = Mapping[str, Tensor]
"""Parameters and buffers by name."""

# Examples that are followed: two, so that no axis of length one is taken for another.
_EXAMPLES = 2


@dataclass(frozen=True, eq=False)
class Place:
    """Where the units of a family stand on one axis of a tensor.

    Attributes:
        name: of the tensor.
        rows: the part of it: these rows of its first axis; None: the whole tensor.
        axis: of that part; None: of the tensor as one flat vector.
        index: `[units, m]`: the positions of each unit, such as one for each gate, or each pixel
            of a channel that was flattened.
        power: +1 on what makes a unit, −1 on what sees it.
    """

    name: str
    rows: tuple[int, int] | None
    axis: int | None
    index: Tensor
    power: int

    def view(self, tensors: Tensors) -> Tensor:
        """The part of the tensor in question, units along axis 0, `[d, ...]`."""
        part = tensors[self.name]
        if self.rows is not None:
            part = part[slice(*self.rows)]
        return part.reshape(-1) if self.axis is None else part.movedim(self.axis, 0)

    def slices(self, tensors: Tensors) -> Tensor:
        """The numbers that belong to each unit, `[units, ...]`."""
        return self.view(tensors)[self.index.flatten()].reshape(len(self.index), -1)

    def moved(self, tensors: Tensors, permutation: Tensor) -> Tensor:
        """The tensor with unit `permutation[i]` in the place of unit `i`, contiguous."""
        view = self.view(tensors)
        order = torch.arange(len(view), device=view.device)
        order[self.index.flatten()] = self.index[permutation].flatten().to(view.device)
        return self.replaced(tensors, view[order])

    def replaced(self, tensors: Tensors, view: Tensor) -> Tensor:
        """The tensor with another content of its part."""
        whole = tensors[self.name]
        if self.axis is None:
            return view.reshape(whole.shape).contiguous()
        part = view.movedim(0, self.axis)
        if self.rows is None:
            return part.contiguous()
        result = whole.clone(memory_format=torch.contiguous_format)
        result[slice(*self.rows)] = part
        return result


@dataclass(frozen=True, eq=False)
class Family:
    """Units that can change places among each other.

    Attributes:
        name: of the layer that makes them.
        size: how many.
        places: where they stand.
        units: their numbers in the walk that found them, `[size]`.
    """

    name: str
    size: int
    places: tuple[Place, ...]
    units: Tensor

    @property
    def coupled(self) -> bool:
        """Whether some tensor has these units on two of its axes."""
        counts = Counter((place.name, place.rows) for place in self.places)
        return max(counts.values()) > 1


@dataclass(frozen=True, eq=False)
class PermutationGroup:
    """All permutations within families: a group of symmetries of a network.

    Attributes:
        families: in the order of the network.
        fixed_by: operations without a rule, which keep in place what they see.
        seen: what layers see: node of the graph, axis of its value, family and `index` as in
            :class:`Place`.

    Example:
        >>> model = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))
        >>> group = permutation_group(model, torch.zeros(1, 3))
        >>> [(family.name, family.size) for family in group.families]
        [('0', 5)]
        >>> turned = group.apply(model.state_dict(), {"0": torch.tensor([1, 2, 3, 4, 0])})
        >>> bool((turned["0.bias"] == model[0].bias.roll(-1)).all())
        True
    """

    families: tuple[Family, ...]
    fixed_by: tuple[str, ...]
    seen: tuple[tuple[str, int, str, Tensor], ...]

    def apply(self, tensors: Tensors, permutations: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Move a network: unit `permutations[f][i]` of a family takes the place of unit `i`.

        Args:
            tensors: parameters, and buffers where there are some.
            permutations: by name of family; those left out stay in place.

        Returns:
            All tensors, those that moved contiguous.

        Raises:
            InputError: if a permutation is none, or of no family.
        """
        moved = dict(tensors)
        families = {family.name: family for family in self.families}
        for name, permutation in permutations.items():
            if name not in families:
                raise InputError(f"expected a family among {', '.join(families)}, got '{name}'")
            family = families[name]
            if not torch.equal(permutation.sort().values.cpu(), torch.arange(family.size)):
                raise InputError(
                    f"expected a permutation of {family.size} units for '{name}', got "
                    f"{permutation.tolist()}"
                )
            for place in family.places:
                if place.name in moved:  # buffers may be missing
                    moved[place.name] = place.moved(moved, permutation)
        return moved

    def identity(self) -> dict[str, Tensor]:
        """The permutation that moves nothing."""
        return {family.name: torch.arange(family.size) for family in self.families}

    def random(self, generator: torch.Generator) -> dict[str, Tensor]:
        """A permutation drawn at random.

        Args:
            generator: on the CPU.
        """
        return {f.name: torch.randperm(f.size, generator=generator) for f in self.families}


def walk(model: nn.Module, inputs: tuple[Tensor, ...], action: Action) -> Walk:
    """Follow a few examples through a model.

    Args:
        model: it is not changed; its function in evaluation mode counts.
        inputs: of the model, at least one example `[n, ...]` each.
        action: what to look for.

    Raises:
        InputError: if torch.fx cannot trace the model.
    """
    modules = {
        **rules_elementwise.module_rules(),
        **rules_layers.module_rules(),
        **rules_recurrent.module_rules(),
    }
    functions = {**rules_elementwise.function_rules(), **rules_layers.function_rules()}
    few = [t[torch.arange(_EXAMPLES) % len(t)] for t in inputs]
    return Walk(copy.deepcopy(model).eval(), action, modules, functions).follow(*few)


def permutation_group(model: nn.Module, *inputs: Tensor) -> PermutationGroup:
    """Derive the permutations of units that a model's graph allows.

    Units that an operation without a rule sees stay in place; of a grouped convolution, units
    move within their group.

    Args:
        model: it is not changed; its function in evaluation mode counts.
        inputs: of the model, at least one example `[n, ...]` each.

    Raises:
        InputError: if torch.fx cannot trace the model.
    """
    found = walk(model, inputs, "permute")
    # By class of units: in which blocks it stands, and at which positions.
    positions: dict[int, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    blocks = list(found.blocks.values())
    for number, block in enumerate(blocks):
        for at, root in enumerate(found.classes.roots(torch.tensor(block.labels)).tolist()):
            if root != FIXED:
                positions[root][number].append(at)
    within: dict[int, Counter[int]] = defaultdict(Counter)
    for number, (units, times) in enumerate(found.sets):
        roots = found.classes.roots(units).tolist()
        for root, often in zip(roots, times.tolist(), strict=True):
            within[root][number] += often
    # Classes that stand in the same blocks and pass the same operations, equally often, can change
    # places.
    alike: dict[object, list[int]] = defaultdict(list)
    for root, where in positions.items():
        counts = tuple(sorted((number, len(at)) for number, at in where.items()))
        alike[counts, tuple(sorted(within[root].items()))].append(root)
    groups = [sorted(roots) for roots in alike.values() if len(roots) > 1]
    names: Counter[str] = Counter()
    families = []
    for roots in sorted(groups):
        family = _family(roots, positions, blocks, names)
        families.append(family)
    return PermutationGroup(
        tuple(families), tuple(dict.fromkeys(found.fixed_by)), _seen(found, families)
    )


def _family(
    roots: list[int],
    positions: Mapping[int, Mapping[int, list[int]]],
    blocks: list[Block],
    names: Counter[str],
) -> Family:
    numbers = sorted(positions[roots[0]])
    places = tuple(
        Place(
            blocks[number].name,
            blocks[number].rows,
            blocks[number].axis,
            torch.tensor([positions[root][number] for root in roots]),
            blocks[number].power,
        )
        for number in numbers
    )
    maker = next((p.name for p in places if p.power > 0), places[0].name)
    name = _layer_name(maker)
    names[name] += 1
    if names[name] > 1:
        name = f"{name}#{names[name]}"
    return Family(name, len(roots), places, torch.tensor(roots))


def _layer_name(tensor: str) -> str:
    """Of the layer that holds a tensor; of recurrent layers with depth and direction."""
    layer, _, own = tensor.rpartition(".")
    if own.startswith(("weight_", "bias_")):  # weight_ih_l0_reverse
        own = own.split("_", 2)[-1]
        return f"{layer}.{own}" if layer else own
    return layer or own


def _seen(found: Walk, families: list[Family]) -> tuple[tuple[str, int, str, Tensor], ...]:
    """Which families layers see, and where."""
    result = []
    for node, axis, labels in found.seen:
        roots = found.classes.roots(labels).tolist()
        at: dict[int, list[int]] = defaultdict(list)
        for position, root in enumerate(roots):
            at[root].append(position)
        for family in families:
            index = [at.get(unit, []) for unit in family.units.tolist()]
            if len({len(where) for where in index}) == 1 and index[0]:
                result.append((node, axis, family.name, torch.tensor(index)))
    return tuple(result)
