"""Files of paths: read by others, and refused when broken."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from thalweg import Bezier, InputError, Layout, Polygonal, load_path, save_path

NAMES, SHAPES = ("2.weight", "a.scale", "0.bias"), ((2, 3), (), (4,))


def path(dtype=torch.float32, kind=Polygonal, n=5):
    layout = Layout(NAMES, SHAPES, dtype)
    return kind(torch.arange(n * 11, dtype=dtype).reshape(n, 11) / 3, layout)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", [Polygonal, Bezier])
def test_what_was_saved_is_loaded(dtype, kind, tmp_path):
    save_path(path(dtype, kind), tmp_path / "p.safetensors")
    back = load_path(tmp_path / "p.safetensors")
    assert type(back) is kind
    assert back.layout == path(dtype, kind).layout
    assert torch.equal(back.points, path(dtype, kind).points)


def test_anybody_can_read_one_tensor_a_parameter_in_path_order(tmp_path):
    saved = path()
    save_path(saved, tmp_path / "p.safetensors")
    tensors = load_file(tmp_path / "p.safetensors")
    assert {name: tuple(t.shape) for name, t in tensors.items()} == {
        name: (5, *shape) for name, shape in zip(NAMES, SHAPES, strict=True)
    }
    for i, point in enumerate(saved.points):
        named = saved.layout.unflatten(point)
        assert all(torch.equal(tensors[name][i], named[name]) for name in NAMES)


def test_points_that_lie_on_disk_or_are_views_are_written_alike(tmp_path):
    whole = path()
    file = tmp_path / "points"
    file.write_bytes(whole.points.numpy().tobytes())
    mapped = torch.from_file(str(file), shared=False, size=55).reshape(5, 11)
    strided = torch.stack([whole.points.t(), whole.points.t()], dim=2)[..., 0].t()
    for i, points in enumerate((whole.points, mapped, strided)):
        save_path(Polygonal(points, whole.layout), tmp_path / f"{i}.safetensors")
    contents = {(tmp_path / f"{i}.safetensors").read_bytes() for i in range(3)}
    assert len(contents) == 1


def test_points_of_another_dtype_than_the_layout_never_give_a_broken_file(tmp_path):
    try:
        odd = Polygonal(path().points.double(), path().layout)
        save_path(odd, tmp_path / "p.safetensors")
    except InputError:
        return
    torch.testing.assert_close(load_path(tmp_path / "p.safetensors").points, path().points)


def test_a_path_truncated_anywhere_is_refused(tmp_path):
    file = tmp_path / "p.safetensors"
    save_path(path(), file)
    whole = file.read_bytes()
    for size in range(0, len(whole), 7):
        file.write_bytes(whole[:size])
        with pytest.raises(InputError, match="truncated or corrupt"):
            load_path(file)


def test_damaged_bytes_give_a_path_or_a_sentence(tmp_path):
    file = tmp_path / "p.safetensors"
    save_path(path(n=2), file)
    whole = file.read_bytes()
    refused = 0
    for at in range(0, len(whole) - 80, 3):
        for flip in (0x01, 0xFF):
            file.write_bytes(whole[:at] + bytes([whole[at] ^ flip]) + whole[at + 1 :])
            try:
                load_path(file)
            except InputError:
                refused += 1
    assert refused > 50


def metadata(**changes):
    order = json.dumps(NAMES)
    return {"format": "thalweg.path", "kind": "polygonal", "points": "5", "order": order} | changes


@pytest.mark.parametrize("changes", [
    {"kind": "spline"}, {"points": "4"}, {"points": "many"}, {"order": "[]"}, {"order": "5"},
    {"order": '["2.weight"]'}, {"order": "not json"}, {"points": "0"},
])  # fmt: skip
def test_tensors_with_other_metadata_are_refused(changes, tmp_path):
    tensors = {n: torch.zeros(5, *s) for n, s in zip(NAMES, SHAPES, strict=True)}
    save_file(tensors, tmp_path / "good.safetensors", metadata())
    save_file(tensors, tmp_path / "bad.safetensors", metadata(**changes))
    assert len(load_path(tmp_path / "good.safetensors").points) == 5
    with pytest.raises(InputError):
        load_path(tmp_path / "bad.safetensors")


def test_a_checkpoint_is_no_path(tmp_path):
    save_file({"w": torch.zeros(3)}, tmp_path / "m.safetensors")
    with pytest.raises(InputError, match="expected a path written by thalweg"):
        load_path(tmp_path / "m.safetensors")
    with pytest.raises(InputError, match="got nothing"):
        load_path(tmp_path / "absent.safetensors")


def test_a_path_that_cannot_be_written_leaves_nothing_behind(tmp_path):
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="expected to write"):
        save_path(path(), tmp_path / "file" / "p.safetensors")
    with pytest.raises(InputError, match="expected to write"):
        save_path(path(), tmp_path / "folder")
    assert sorted(f.name for f in tmp_path.iterdir()) == ["file", "folder"]
