"""The folder of a connection: round trips, replacement, and nothing half-written."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest
import torch

from tests.helpers import double_well, landscape, point
from thalweg import Budget, InputError, Outcome, connect, load_connection
from thalweg.connect import check_output
from thalweg.errors import VerificationError


def listing(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_what_was_saved_is_loaded(connection, tmp_path):
    connection.save(tmp_path / "deep" / "out")
    assert listing(tmp_path / "deep") == ["out"]
    assert listing(tmp_path / "deep" / "out") == ["connection.json", "path.safetensors"]
    back = load_connection(tmp_path / "deep" / "out")
    assert torch.equal(back.path.points, connection.path.points)
    assert back.path.layout == connection.path.layout
    assert json.dumps(back.document()) == json.dumps(connection.document())
    for name in ("outcome", "segments", "endpoints", "counts", "profile", "normalized_length"):
        assert getattr(back, name) == getattr(connection, name)


@pytest.mark.parametrize("ends", [(1.0, 1.0), (-1.0, 1.0), (1.0, 1.2)])
def test_every_outcome_has_a_record_of_finite_numbers(ends, tmp_path):
    found = connect(
        landscape(double_well), point(ends[0]), point(ends[1]), threshold=0.5,
        budget=Budget(patience=20), profile_points=5,
    )  # fmt: skip
    found.save(tmp_path / "out")
    text = (tmp_path / "out" / "connection.json").read_text()
    assert "NaN" not in text
    assert "Infinity" not in text
    assert load_connection(tmp_path / "out").outcome is found.outcome


def test_a_search_that_met_nan_is_saved(tmp_path):
    def field(w):
        return torch.where(w[0].abs() < 0.3, w[0] * torch.nan, double_well(w))

    found = connect(landscape(field), point(-1.0), point(1.0), threshold=0.5, profile_points=5)
    assert found.outcome is Outcome.DIVERGED
    found.save(tmp_path / "out")
    back = load_connection(tmp_path / "out")
    assert back.profile is not None
    assert None in back.profile.values["loss/train"]


def test_the_record_holds_what_the_interface_promises(connection):
    document = connection.document()
    promised = {
        "format", "version", "outcome", "method", "certificate", "threshold", "criterion",
        "endpoints", "beads", "length", "endpoint_distance", "normalized_length",
        "max_criterion_bound", "max_criterion_seen", "segments", "counts", "seconds", "seed",
        "settings", "versions",
    }  # fmt: skip
    assert promised <= document.keys()
    assert (document["format"], document["version"]) == ("thalweg.connection", 1)
    assert document["criterion"] == {"name": "loss", "split": "train"}
    assert set(document["seconds"]) == {"training", "certifying", "total"}
    assert all(
        {"length", "bound", "seen", "kind", "evaluations"} <= segment.keys()
        for segment in document["segments"]
    )
    assert document["length"] == pytest.approx(sum(s["length"] for s in document["segments"]))
    assert document["beads"] == len(document["segments"]) - 1


def test_a_connection_is_replaced_and_so_is_an_empty_folder(connection, tmp_path):
    (tmp_path / "out").mkdir()
    for seed in (5, 6):
        connection.with_settings(note=seed).save(tmp_path / "out")
        assert load_connection(tmp_path / "out").settings["note"] == seed
    assert listing(tmp_path) == ["out"]


def test_a_link_to_a_connection_keeps_pointing_and_leaves_nothing_behind(connection, tmp_path):
    connection.save(tmp_path / "real")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    connection.with_settings(note="new").save(tmp_path / "link")
    assert listing(tmp_path) == ["link", "real"]
    assert (tmp_path / "link").is_symlink()
    assert load_connection(tmp_path / "real").settings["note"] == "new"


@pytest.mark.parametrize("kind", ["folder", "file", "dangling link"])
def test_what_is_not_a_connection_is_never_overwritten(kind, connection, tmp_path):
    place = tmp_path / "out"
    if kind == "folder":
        place.mkdir()
        (place / "thesis.tex").write_text("mine")
    elif kind == "file":
        place.write_text("mine")
    else:
        place.symlink_to(tmp_path / "nowhere")
    for attempt in (check_output, connection.save):
        with pytest.raises(InputError, match="expected a new name"):
            attempt(place)
    assert listing(tmp_path) == ["out"]
    if kind == "folder":
        assert listing(place) == ["thesis.tex"]


@pytest.mark.parametrize("existing", [False, True])
@pytest.mark.parametrize("failing", ["write_text", "replace"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt()])
def test_an_interruption_leaves_nothing_half_written(
    existing, failing, error, connection, tmp_path, monkeypatch
):
    place = tmp_path / "out"
    if existing:
        connection.with_settings(note="old").save(place)

    def fail(*_args, **_options):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(Path, failing, fail)
        expected = InputError if isinstance(error, OSError) else KeyboardInterrupt
        with pytest.raises(expected):
            connection.save(place)
    assert listing(tmp_path) == (["out"] if existing else [])
    if existing:
        assert load_connection(place).settings["note"] == "old"


# --------------------------------------------------------------------- reading what is wrong


def tampered(connection, folder: Path, change) -> Path:
    connection.save(folder)
    document = json.loads((folder / "connection.json").read_text())
    change(document)
    (folder / "connection.json").write_text(json.dumps(document))
    return folder


@pytest.mark.parametrize("change", [
    lambda d: d.update(format="other"), lambda d: d.update(version=99),
    lambda d: d.update(outcome="maybe"), lambda d: d.pop("segments"),
    lambda d: d.update(segments=None), lambda d: d.update(segments={}),
    lambda d: d.update(threshold="0.2"), lambda d: d.update(threshold=-1.0),
    lambda d: d["segments"][0].update(bound="0.1"), lambda d: d["segments"][0].update(kind="holy"),
    lambda d: d["counts"].update(training_steps="many"), lambda d: d.update(settings=[]),
    lambda d: d.update(endpoints=d["endpoints"][:1]), lambda d: d["profile"].update(values=[]),
    lambda d: d.update(beads=5), lambda d: d.update(length=5.0),
    lambda d: d.update(normalized_length=1.0), lambda d: d.update(max_criterion_bound=0.0),
])  # fmt: skip
def test_a_record_with_a_wrong_entry_is_refused(change, connection, tmp_path):
    with pytest.raises((InputError, VerificationError)):
        load_connection(tampered(connection, tmp_path / "out", change))


def test_folders_without_a_connection_are_refused(connection, tmp_path):
    with pytest.raises(InputError, match=r"connection\.json"):
        load_connection(tmp_path / "absent")
    connection.save(tmp_path / "out")
    whole = (tmp_path / "out" / "connection.json").read_text()
    for text in ("", whole[:100], "[]", "\x00\xff"):
        (tmp_path / "out" / "connection.json").write_text(text)
        with pytest.raises(InputError):
            load_connection(tmp_path / "out")
    (tmp_path / "out" / "connection.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError):
        load_connection(tmp_path / "out")
    (tmp_path / "out" / "connection.json").write_text(whole)
    (tmp_path / "out" / "path.safetensors").unlink()
    with pytest.raises(InputError, match="expected a path"):
        load_connection(tmp_path / "out")
