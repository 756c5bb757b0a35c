"""The layers and the readers that CIFAR-10 and Penn Treebank need."""

from __future__ import annotations

import lzma

import numpy as np
import pytest
import torch
from torch import Generator, nn
from torch.nn import functional as F

from thalweg.objective.splits import Split
from thalweg.tasks import DataError, get_task, read_cifar10, read_ptb
from thalweg.tasks.augment import Crop, standardize


def images(n: int = 4, size: int = 32) -> torch.Tensor:
    generator = Generator().manual_seed(0)
    return torch.randint(256, (n, 3, size, size), generator=generator).double()


# ------------------------------------------------------------------------------- the first layer


def test_evaluation_takes_the_middle():
    x = images()
    torch.testing.assert_close(Crop(24).eval()(x), standardize(x[:, :, 4:28, 4:28]))


def test_standardized_images_have_mean_zero_and_deviation_one():
    x = standardize(images())
    torch.testing.assert_close(x.mean((1, 2, 3)), torch.zeros(4).double())
    torch.testing.assert_close(x.std((1, 2, 3), correction=0), torch.ones(4).double())


def test_a_constant_image_stays_finite():
    assert not standardize(torch.full((1, 3, 4, 4), 7.0)).any()


def test_a_training_image_is_a_part_of_the_image_up_to_brightness_contrast_and_mirroring():
    x = images(8)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        cut = Crop(24).train()(x)
    for image, seen in zip(x, cut, strict=True):
        # Brightness, contrast and standardization are affine in each channel, so that the
        # correlation with the right place is 1, channel by channel.
        places = F.unfold(image[:, None], 24).transpose(1, 2)  # [3, places, 576]
        both = torch.stack([seen, seen.flip(2)]).flatten(2)  # [2, 3, 576]
        places = places - places.mean(2, keepdim=True)
        both = both - both.mean(2, keepdim=True)
        lengths = places.norm(dim=2) * both.norm(dim=2)[:, :, None]
        correlations = torch.einsum("cpi,mci->mcp", places, both) / lengths
        assert correlations.min(dim=1).values.max() == pytest.approx(1, abs=1e-9)


def test_training_images_differ_from_one_another():
    x = images(1).expand(16, -1, -1, -1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        cut = Crop(24).train()(x)
    assert len({row.numpy().tobytes() for row in cut}) == 16


# ---------------------------------------------------------------------------------- the networks


@pytest.fixture(scope="module")
def text(data_dir) -> Split:
    return get_task("ptb-lstm").build(data_dir).splits["train"]


def test_pools_are_tensorflows():
    """SAME padding of a 3x3 window with stride 2 on an even side: one column on the right."""
    x = torch.randn(2, 3, 24, 24, generator=Generator().manual_seed(0))
    padded = F.pad(x, (0, 1, 0, 1), value=-torch.inf)
    theirs = F.max_pool2d(padded, 3, 2)
    assert torch.equal(nn.MaxPool2d(3, 2, ceil_mode=True)(x), theirs)


def test_local_response_normalization_is_that_of_the_published_runs():
    x = torch.randn(1, 12, 1, 1, generator=Generator().manual_seed(0)).double()
    layers = get_task("cifar10-cnn-small").initialize(Generator().manual_seed(0))
    norm = next(layer for layer in layers.modules() if isinstance(layer, nn.LocalResponseNorm))
    row = x.flatten()
    expected = [
        row[i] / (1 + 0.001 / 9 * row[max(0, i - 4) : i + 5].square().sum()) ** 0.75
        for i in range(12)
    ]
    torch.testing.assert_close(norm(x).flatten(), torch.stack(expected))


def test_the_penalty_is_on_the_first_two_fully_connected_layers(data_dir):
    objective = get_task("cifar10-cnn-small").build(data_dir)
    theta = objective.theta(get_task("cifar10-cnn-small").initialize(Generator().manual_seed(1)))
    assert objective.penalty is not None
    named = objective.layout.unflatten(theta)
    linear = [key for key, t in named.items() if key.endswith("weight") and t.ndim == 2][:2]
    expected = sum(0.002 * named[key].square().sum() for key in linear)
    torch.testing.assert_close(objective.penalty(named), expected)


def test_sequences_are_followed_by_the_next_word(text):
    inputs, target = text.inputs[0], text.target
    assert torch.equal(inputs[:, 1:], target[:, :-1])
    assert inputs.max() == 9_999


def test_numbers_of_words_are_ordered_by_frequency(text):
    counts = text.inputs[0].flatten().bincount()
    # One word in twenty thousand is cut off at the end: ties and neighbours may change places.
    assert counts[0] > counts[10] > counts[100] > counts[1000]


def test_the_state_is_not_carried_from_one_sequence_to_the_next():
    model = get_task("ptb-lstm-small").initialize(Generator().manual_seed(0)).eval()
    tokens = torch.randint(500, (3, 20), generator=Generator().manual_seed(1))
    with torch.no_grad():
        together, alone = model(tokens), torch.cat([model(row[None]) for row in tokens])
    torch.testing.assert_close(together, alone)


# ----------------------------------------------------------------------------------- the readers


def test_cifar_records_are_read_and_damage_is_named(tmp_path):
    records = np.zeros((2, 3073), np.uint8)
    records[:, 0] = 3, 9
    records[1, 1 + 1024] = 200  # green, first row, first column
    (tmp_path / "test_batch.bin.xz").write_bytes(lzma.compress(records.tobytes()))
    read = read_cifar10("test", tmp_path)
    assert read.labels.tolist() == [3, 9]
    assert read.pixels[1, 1, 0, 0] == 200
    assert read.pixels.sum() == 200
    (tmp_path / "test_batch.bin").write_bytes(records.tobytes()[:-1])
    with pytest.raises(DataError, match="got 6145 bytes"):
        read_cifar10("test", tmp_path)
    records[0, 0] = 10
    (tmp_path / "test_batch.bin").write_bytes(records.tobytes())
    with pytest.raises(DataError, match="labels from 0 to 9"):
        read_cifar10("test", tmp_path)
    with pytest.raises(DataError, match=r"data_batch_1\.bin"):
        read_cifar10("train", tmp_path)


def test_words_are_read_with_their_line_ends(tmp_path):
    (tmp_path / "ptb.valid.txt").write_text(" a b \n c \n")
    assert read_ptb("valid", tmp_path) == ["a", "b", "<eos>", "c", "<eos>"]
    (tmp_path / "ptb.valid.txt").write_text("")
    with pytest.raises(DataError, match="expected words"):
        read_ptb("valid", tmp_path)
    (tmp_path / "ptb.valid.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="UTF-8"):
        read_ptb("valid", tmp_path)


@pytest.mark.parametrize("scale", [0.01, 30.0])  # below and above where gradients are cut off
def test_a_step_of_the_language_model_is_the_published_one(scale):
    """There the loss is a sum over the 20 words of a sequence, the rate 1, the norm at most 5."""
    training = get_task("ptb-lstm").training
    mean = scale * torch.randn(7, generator=Generator().manual_seed(0))

    def step(gradient, rate, longest):
        return rate * gradient * min(1.0, longest / float(gradient.norm()))

    ours = step(mean, training.learning_rate, training.max_gradient_norm)
    torch.testing.assert_close(ours, step(20 * mean, 1.0, 5.0))
