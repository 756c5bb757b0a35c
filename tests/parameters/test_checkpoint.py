"""Checkpoint files: every format, every breakage, and no code ever run."""

from __future__ import annotations

import collections
import errno
import os
import pickle
from pathlib import Path

import pytest
import torch
from torch import nn

from thalweg.errors import InputError
from thalweg.parameters import load_checkpoint, save_checkpoint
from thalweg.parameters.checkpoint import replacing


def tensors():
    base = torch.arange(12.0).reshape(3, 4)
    return {
        "transposed": base.t(), "expanded": base[:, :1].expand(3, 2), "scalar": torch.tensor(2.0),
        "empty": torch.zeros(0, 3), "count": torch.tensor([3]), "double": base.double() / 3,
    }  # fmt: skip


def assert_same(got, expected):
    assert got.keys() == expected.keys()
    for name, tensor in expected.items():
        assert got[name].dtype == tensor.dtype
        assert torch.equal(got[name], tensor)


def write(file: Path, content, kind: str) -> Path:
    if kind == "safetensors":
        save_checkpoint(file.with_suffix(".safetensors"), content)
        return file.with_suffix(".safetensors")
    file = file.with_suffix(".pt")
    torch.save(content, file, _use_new_zipfile_serialization=kind == "zip")
    return file


@pytest.mark.parametrize("kind", ["safetensors", "zip", "legacy"])
def test_what_was_saved_is_loaded(kind, tmp_path):
    assert_same(load_checkpoint(write(tmp_path / "m", tensors(), kind)), tensors())


@pytest.mark.parametrize("kind", ["safetensors", "zip", "legacy"])
def test_a_file_truncated_anywhere_is_refused(kind, tmp_path):
    file = write(tmp_path / "m", {"w": torch.arange(50.0), "b": torch.ones(3)}, kind)
    whole = file.read_bytes()
    step = max(1, len(whole) // 60)
    for size in sorted({0, 1, 2, 4, 7, 8, 9, *range(0, len(whole), step), len(whole) - 1}):
        file.write_bytes(whole[:size])
        with pytest.raises(InputError, match=r"expected .*, got "):
            load_checkpoint(file)


@pytest.mark.parametrize("kind", ["safetensors", "zip", "legacy"])
def test_a_file_with_damaged_bytes_gives_tensors_or_a_sentence(kind, tmp_path):
    file = write(tmp_path / "m", {"w": torch.arange(50.0), "b": torch.ones(3)}, kind)
    whole = file.read_bytes()
    generator = torch.Generator().manual_seed(0)
    refused = 0
    for _ in range(120):
        at = int(torch.randint(len(whole), (1,), generator=generator))
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        try:
            assert all(isinstance(t, torch.Tensor) for t in load_checkpoint(file).values())
        except InputError:
            refused += 1
    assert refused > 0


class Malicious:
    def __init__(self, witness: str) -> None:
        self.witness = witness

    def __reduce__(self):
        return os.mkdir, (self.witness,)


@pytest.mark.parametrize("form", ["zip", "legacy", "bare pickle"])
def test_code_in_a_pickle_is_never_run(form, tmp_path):
    witness = tmp_path / "witness"
    content = {"w": torch.zeros(2), "evil": Malicious(str(witness))}
    file = tmp_path / "m.pt"
    if form == "bare pickle":
        file.write_bytes(pickle.dumps(content["evil"]))
    else:
        torch.save(content, file, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(InputError, match="not unpickled"):
        load_checkpoint(file)
    assert not witness.exists()


@pytest.mark.parametrize("content", [
    {"state_dict": {"w": torch.zeros(2)}, "epoch": 3}, {}, [torch.zeros(2)], torch.zeros(2),
    {"w": torch.zeros(2), "step": 3},
])  # fmt: skip
def test_what_is_not_a_pure_state_dict_is_refused(content, tmp_path):
    torch.save(content, tmp_path / "m.pt")
    with pytest.raises(InputError, match="expected a state dict"):
        load_checkpoint(tmp_path / "m.pt")


def test_an_ordered_state_dict_of_a_module_is_read(tmp_path):
    state = collections.OrderedDict(nn.Linear(2, 3).state_dict())
    torch.save(state, tmp_path / "m.pth")
    assert_same(load_checkpoint(tmp_path / "m.pth"), state)


def test_a_whole_pickled_module_is_refused(tmp_path):
    torch.save(nn.Linear(2, 3), tmp_path / "m.pt")
    with pytest.raises(InputError, match=r"save model\.state_dict\(\) instead"):
        load_checkpoint(tmp_path / "m.pt")


@pytest.mark.parametrize(("name", "message"), [
    ("m.npz", "named .safetensors, .pt or .pth, got m.npz"), ("absent.pt", "got nothing"),
    ("folder.pt", "got a folder"),
])  # fmt: skip
def test_a_place_that_holds_no_checkpoint_is_named(name, message, tmp_path):
    (tmp_path / "folder.pt").mkdir()
    (tmp_path / "m.npz").write_bytes(b"x")
    with pytest.raises(InputError, match=message):
        load_checkpoint(tmp_path / name)


def test_the_wrong_suffix_is_refused_in_words(tmp_path):
    save_checkpoint(tmp_path / "m.safetensors", {"w": torch.ones(2)})
    torch.save({"w": torch.ones(2)}, tmp_path / "n.pt")
    (tmp_path / "m.safetensors").rename(tmp_path / "m.pt")
    (tmp_path / "n.pt").rename(tmp_path / "n.safetensors")
    for name in ("m.pt", "n.safetensors"):
        with pytest.raises(InputError, match="expected a"):
            load_checkpoint(tmp_path / name)


# ------------------------------------------------------------------------- writing


def test_saving_makes_folders_and_replaces(tmp_path):
    file = tmp_path / "deep" / "er" / "m.safetensors"
    save_checkpoint(file, {"w": torch.zeros(2)})
    save_checkpoint(file, {"w": torch.ones(2)}, {"note": "second"})
    assert load_checkpoint(file)["w"].tolist() == [1, 1]
    assert [f.name for f in file.parent.iterdir()] == ["m.safetensors"]


@pytest.mark.parametrize("failing", ["write_bytes", "replace"])
def test_a_full_disk_leaves_nothing_behind(failing, tmp_path, monkeypatch):
    file = tmp_path / "m.safetensors"
    save_checkpoint(file, {"w": torch.zeros(2)})

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, failing, full)
    with pytest.raises(InputError, match="No space left on device"):
        save_checkpoint(file, {"w": torch.ones(2)})
    monkeypatch.undo()
    assert [f.name for f in tmp_path.iterdir()] == ["m.safetensors"]
    assert load_checkpoint(file)["w"].tolist() == [0, 0]


def test_an_interruption_leaves_nothing_behind(tmp_path):
    def interrupted():
        with replacing(tmp_path / "file") as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="expected to write"):
        save_checkpoint(tmp_path / "file" / "m.safetensors", {"w": torch.zeros(2)})
