"""What every task promises, and what each one is."""

from __future__ import annotations

import dataclasses
import hashlib
import subprocess
import sys

import pytest
import torch
from torch import Generator, nn

from thalweg.errors import InputError
from thalweg.objective import Objective
from thalweg.tasks import Task, get_task, task_names
from thalweg.tasks.task import drawn

PARAMETERS = {
    "permutation": 12, "permutation-small": 12,
    "two-gaussians": 8, "two-gaussians-small": 8,
    "mixture-of-teachers": 9, "mixture-of-teachers-small": 9,
    "quadratic": 24, "quadratic-small": 24,
    "cubic": 33, "cubic-small": 33,
    "digits": 2_410, "digits-small": 610,
    "mnist-mlp": 50_890, "mnist-mlp-small": 12_730,
    "mnist-cnn": 3_274_634, "mnist-cnn-small": 54_314,
    "cifar10-cnn": 1_068_298, "cifar10-cnn-small": 37_226,
    "ptb-lstm": 4_651_600, "ptb-lstm-small": 40_820,
}  # fmt: skip
EXAMPLES = {
    "permutation": (3,), "permutation-small": (3,),
    "two-gaussians": (1000,), "two-gaussians-small": (200,),
    "mixture-of-teachers": (1000,), "mixture-of-teachers-small": (200,),
    "quadratic": (10_000, 10_000), "quadratic-small": (1000, 1000),
    "cubic": (10_000, 10_000), "cubic-small": (1000, 1000),
    "digits": (1_437, 360), "digits-small": (1_437, 360),
    "mnist-mlp": (60_000, 10_000), "mnist-mlp-small": (8_000, 2_000),
    "mnist-cnn": (55_000, 10_000), "mnist-cnn-small": (5_000, 1_000),
    "cifar10-cnn": (50_000, 10_000), "cifar10-cnn-small": (5_000, 1_000),
    "ptb-lstm": (46_479, 4_121), "ptb-lstm-small": (2_000, 400),
}  # fmt: skip
# (lowest, highest) of the loss of a network that has not learned anything
UNTRAINED_LOSS = {
    "permutation": (0.0, 3.0),
    "two-gaussians": (0.5, 20.0),
    "mixture-of-teachers": (0.5, 20.0),
    "quadratic": (0.0, 0.7),
    "cubic": (0.1, 5.0),
    "digits": (2.2, 2.5),
    "mnist-mlp": (2.2, 2.4),
    "mnist-cnn": (2.3, 1000.0),
    "cifar10-cnn": (2.2, 2.5),
    "ptb-lstm": (6.0, 9.3),
}
IMAGES = [name for name in PARAMETERS if name.startswith(("digits", "mnist"))]

every_task = pytest.mark.parametrize("name", task_names())


def model(name: str, seed: int = 0) -> nn.Module:
    return get_task(name).initialize(Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def objectives() -> dict[str, Objective]:
    return {}


@pytest.fixture
def objective(name: str, objectives: dict[str, Objective], request) -> Objective:
    """The task's objective, built once for all tests here; skips where its data are missing."""
    if name not in objectives:
        task = get_task(name)
        folder = request.getfixturevalue("data_dir") if task.needs_data else None
        objectives[name] = task.build(folder)
    return objectives[name]


# ---------------------------------------------------------------- every task


def test_every_task_is_described_here():
    assert set(task_names()) == set(PARAMETERS) == set(EXAMPLES)
    assert {name.removesuffix("-small") for name in task_names()} == set(UNTRAINED_LOSS)


def test_an_unknown_task_is_refused_with_the_names():
    with pytest.raises(InputError, match=r"quadratic, cubic, .* got 'quadratik'"):
        get_task("quadratik")


@every_task
def test_the_record_is_complete(name):
    task = get_task(name)
    assert task.name == name
    assert all((task.summary, task.source, task.architecture))
    assert "\n" not in task.summary
    assert list(task.thresholds) == sorted(set(task.thresholds))
    assert task.default_threshold in task.thresholds
    assert 0 < task.alpha < 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        task.name = "other"  # pyright: ignore[reportAttributeAccessIssue]  # the point


@every_task
def test_the_number_of_parameters(name):
    trainable = [p.numel() for p in model(name).parameters() if p.requires_grad]
    assert sum(trainable) == PARAMETERS[name]


@every_task
def test_the_seed_determines_the_weights(name):
    first, again, other = model(name, 3), model(name, 3), model(name, 4)
    for key, tensor in first.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[key]), key
        assert tensor.isfinite().all(), key
    weights = [key for key in first.state_dict() if key.endswith("weight")]
    assert weights
    for key in weights:
        assert not torch.equal(first.state_dict()[key], other.state_dict()[key]), key


@every_task
def test_initialization_leaves_the_global_state_alone(name):
    torch.manual_seed(17)
    before = torch.get_rng_state()
    model(name)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(18)
    again = model(name)
    torch.manual_seed(19)
    for a, b in zip(again.parameters(), model(name).parameters(), strict=True):
        assert torch.equal(a, b)


@every_task
def test_the_model_is_on_the_cpu_and_can_be_trained(name):
    for key, parameter in model(name).named_parameters():
        assert parameter.requires_grad or key.startswith("recurrent.bias_hh"), key
        assert parameter.device.type == "cpu"
        assert parameter.dtype == torch.float32
    assert model(name).training


@every_task
def test_the_objective_is_that_of_the_task(name, objective):
    task = get_task(name)
    assert objective.name == name
    assert objective.criterion == task.criterion
    assert objective.training == task.training
    lengths = [len(split) for split in objective.splits.values()]
    assert lengths == list(EXAMPLES[name])


@every_task
def test_building_leaves_the_global_state_alone(name, request):
    task = get_task(name)
    if name in ("cifar10-cnn", "mnist-cnn", "mnist-mlp", "ptb-lstm"):
        pytest.skip("takes seconds, and its small form does the same")
    folder = request.getfixturevalue("data_dir") if task.needs_data else None
    before = torch.get_rng_state()
    task.build(folder)
    assert torch.equal(torch.get_rng_state(), before)


@every_task
def test_the_loss_of_an_untrained_network(name, objective):
    inputs, target = first_examples(objective, "train", 200)
    with torch.no_grad():
        loss = objective.loss(model(name).eval()(inputs), target).mean()
    lowest, highest = UNTRAINED_LOSS[name.removesuffix("-small")]
    assert lowest < loss < highest


@every_task
def test_splits_share_no_example(name, objective):
    if "test" not in objective.splits:
        pytest.skip("a task of one split")
    shared = len(examples(objective, "train") & examples(objective, "test"))
    if name in ("quadratic", "cubic"):
        # Independent draws from the 2^24 values of `torch.rand`: about 6 pairs coincide, by chance.
        assert shared < 20
    elif name == "ptb-lstm":
        assert shared < 20  # stock phrases of 20 words
    else:
        assert shared == 0


@pytest.mark.parametrize("name", IMAGES)
def test_inputs_are_scaled(name, objective):
    for split in ("train", "test"):
        inputs, _ = first_examples(objective, split, 1000)
        assert inputs.dtype == torch.float32
        assert inputs.min() >= 0
        assert 0.99 < inputs.max() <= 1


def first_examples(objective: Objective, split: str, n: int) -> tuple[torch.Tensor, torch.Tensor]:
    data = objective.splits[split]
    return data.inputs[0][:n], data.target[:n]


def examples(objective: Objective, split: str) -> set[bytes]:
    rows = objective.splits[split].inputs[0]
    return {hashlib.md5(row.numpy().tobytes()).digest() for row in rows}


# ---------------------------------------------------------------- digits and MNIST


def test_the_classes_of_the_digits_are_in_proportion():
    objective = get_task("digits").build(None)
    shares = [s.target.bincount() / len(s.target) for s in objective.splits.values()]
    torch.testing.assert_close(shares[0], shares[1], rtol=0, atol=0.003)


def test_the_initialization_of_the_convolutional_network():
    state = model("mnist-cnn").state_dict()
    for key, tensor in state.items():
        if key.endswith("bias"):
            assert (tensor == 0.1).all(), key
        else:
            assert tensor.abs().max() <= 0.2, key
    # a normal of standard deviation .1 that is cut off at two of them
    assert state["7.weight"].std() == pytest.approx(0.1 * 0.8796, rel=0.01)


def test_the_convolutional_network_gives_logits_and_drops_out_in_training_only():
    network = model("mnist-cnn")
    x = torch.rand(3, 1, 28, 28, generator=Generator().manual_seed(0))
    with torch.random.fork_rng(), torch.no_grad():
        assert not torch.equal(network(x), network(x))
        network.eval()
        output = network(x)
        assert torch.equal(output, network(x))
    assert output.shape == (3, 10)
    assert output.min() < 0  # no softmax


@pytest.mark.parametrize("name", ["digits", "mnist-mlp"])
def test_linear_layers_start_as_pytorch_starts_them(name):
    ours = model(name)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = [m for m in ours.modules() if isinstance(m, nn.Linear)]
        theirs = [nn.Linear(m.in_features, m.out_features) for m in theirs]
    for layer, reference in zip(
        (m for m in ours.modules() if isinstance(m, nn.Linear)), theirs, strict=True
    ):
        bound = layer.in_features**-0.5
        assert layer.weight.abs().max() <= bound
        assert layer.bias.abs().max() <= bound
        assert layer.weight.std().item() == pytest.approx(reference.weight.std().item(), rel=0.1)


# ---------------------------------------------------------------- the machinery


def test_a_module_with_buffers_is_not_silently_emptied():
    with pytest.raises(ValueError, match="without buffers"):
        drawn(lambda: nn.BatchNorm1d(2), lambda name, tensor: tensor.zero_())


def test_scikit_learn_is_not_imported_before_it_is_needed():
    code = "import sys, thalweg.tasks; sys.exit('sklearn' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_task_can_be_varied():
    task = dataclasses.replace(get_task("quadratic"), default_threshold=0.1)
    assert isinstance(task, Task)
    assert task.default_threshold == 0.1
