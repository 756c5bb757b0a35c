"""Alignment: nearer, the same function, whatever form the models come in."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.symmetry.networks import NETWORKS, output, tensors
from thalweg import InputError, Objective, align
from thalweg.parameters import save_checkpoint
from thalweg.symmetry import permutation_group

DTYPES = [(torch.float32, 1e-5), (torch.float64, 1e-12)]


def _squares(out: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return (out - target).square().flatten(1).mean(1)


def _objective(name: str, dtype: torch.dtype, examples: int = 40) -> tuple[Objective, nn.Module]:
    network = NETWORKS[name]
    model, inputs = network.model(dtype), network.data(examples, dtype)
    target = torch.randn_like(output(model, tensors(model), inputs))
    return Objective(model, _squares, train=(inputs, target), strategy="loop"), model


def _other(model: nn.Module, seed: int = 7) -> dict[str, torch.Tensor]:
    """Another network of the same architecture, as a state dict; tied weights stay tied."""
    generator = torch.Generator().manual_seed(seed)
    new = {
        n: t + 0.1 * torch.rand(t.shape, generator=generator, dtype=t.dtype) - 0.05
        for n, t in tensors(model).items() if t.is_floating_point()
    }  # fmt: skip
    first = {id(p): n for n, p in model.named_parameters()}
    own = [*model.named_parameters(remove_duplicate=False), *model.named_buffers()]
    return {n: new[first.get(id(t)) or n] if t.is_floating_point() else t
            for n, t in own if t is not None}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("dtype", "tolerance"), DTYPES)
@pytest.mark.parametrize(("method", "rescale"), [("weights", False), ("activations", True)])
def test_an_aligned_model_computes_what_it_computed(name, dtype, tolerance, method, rescale):
    objective, model = _objective(name, dtype)
    other = _other(model)
    found = align(objective, model, other, method=method, rescale=rescale)
    inputs = objective.splits["train"].inputs[0]
    outputs = []
    for state in (found.state_dict, other):
        twin = NETWORKS[name].model(dtype)
        twin.load_state_dict(state)
        outputs.append(twin(inputs).detach())
    assert (outputs[1] - outputs[0]).abs().max() <= tolerance
    assert found.max_output_change <= tolerance
    assert all(t.is_contiguous() for t in found.state_dict.values())
    assert torch.equal(objective.theta(dict(found.state_dict)), found.theta)
    assert set(found.state_dict) == set(model.state_dict())
    if method == "weights":
        assert found.after <= found.before


@pytest.mark.parametrize("name", ["flattened", "residual", "tied"])
def test_a_planted_permutation_is_undone_with_buffers(name):
    objective, model = _objective(name, torch.float32)
    group = permutation_group(model, objective.splits["train"].inputs[0])
    planted = group.random(torch.Generator().manual_seed(4))
    moved = group.apply(tensors(model), planted)
    if name == "tied":
        moved["out.weight"] = moved["embedding.weight"]
    found = align(objective, model, moved)
    assert found.after == 0
    assert found.moved
    own = model.state_dict()
    assert all(torch.equal(found.state_dict[n], own[n]) for n in own)


def test_planted_permutation_and_sizes_are_undone_together():
    objective, model = _objective("mlp", torch.float64)
    from thalweg.symmetry import rescaling_group

    inputs = objective.splits["train"].inputs[0]
    generator = torch.Generator().manual_seed(0)
    group, sizes = permutation_group(model, inputs), rescaling_group(model, inputs)
    moved = group.apply(tensors(model), group.random(generator))
    moved = sizes.apply(moved, sizes.random(generator))
    found = align(objective, model, moved, rescale=True)
    assert found.before > 1
    assert found.after < 1e-6
    assert align(objective, model, moved).after > 0.5


def test_models_come_as_modules_vectors_and_files(tmp_path):
    objective, model = _objective("residual", torch.float32)
    other = _other(model)
    save_checkpoint(tmp_path / "b.safetensors", other)
    theta = objective.theta(other)
    found = [align(objective, model, b) for b in (other, theta, tmp_path / "b.safetensors")]
    assert all(torch.equal(found[0].theta, other.theta) for other in found)
    names = [n for n in other if "running" in n]
    # A file's statistics move along; a vector has none, and gets estimates.
    assert all(torch.equal(found[0].state_dict[n], found[2].state_dict[n]) for n in names)
    assert not any(torch.equal(found[0].state_dict[n], found[1].state_dict[n]) for n in names)


def test_the_caller_s_models_are_left_as_they_were():
    objective, model = _objective("residual", torch.float32)
    other = _other(model)
    before, given = tensors(model), {n: t.clone() for n, t in other.items()}
    align(objective, model, other, method="activations", rescale=True)
    assert all(torch.equal(t, before[n]) for n, t in tensors(model).items())
    assert all(torch.equal(t, given[n]) for n, t in other.items())


class _Peeks(nn.Module):
    """Its function depends on the order of its units in a way that no graph shows."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.out = nn.Linear(3, 5), nn.Linear(5, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(torch.relu(self.first(x))) * _first_weight(self)


def _first_weight(model: _Peeks) -> float:
    return 1.0 + float(dict(model.named_parameters())["first.weight"].detach()[0, 0])


def test_a_change_of_the_function_is_never_returned():
    x = torch.randn(20, 3)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, other = _Peeks(), _Peeks()
    objective = Objective(model, _squares, train=(x, torch.randn(20, 1)), strategy="loop")
    with pytest.raises(InputError, match="what it computed before"):
        align(objective, model, other)


def test_a_model_without_hidden_units_is_refused():
    x = torch.randn(20, 3)
    model = nn.Linear(3, 1)
    objective = Objective(model, _squares, train=(x, torch.randn(20, 1)))
    with pytest.raises(InputError, match="none of its layers has hidden units"):
        align(objective, model, model)


def test_an_unknown_method_and_another_architecture_are_refused():
    objective, model = _objective("mlp", torch.float32)
    with pytest.raises(InputError, match="a method among weights, activations, got 'names'"):
        align(objective, model, model, method="names")
    with pytest.raises(InputError, match="model B"):
        align(objective, model, nn.Linear(2, 2))
