"""Interrupted by Ctrl-C or a full disk: nothing half-written is left under the final name."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import thalweg
from thalweg.cli.progress import Display

DIGITS = ("--task", "digits", "--threshold", "0.1")


def raising(error: BaseException):
    def call(*args: object, **kwargs: object) -> None:
        raise error

    return call


def full() -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_ctrl_c_while_searching(run, ends, tmp_path, monkeypatch):
    monkeypatch.setattr(Display, "search", raising(KeyboardInterrupt()))
    result = run("connect", *ends, *DIGITS)
    assert (result.status, result.out, result.err) == (130, "", "thalweg: interrupted\n")
    assert not list(tmp_path.iterdir())


def test_ctrl_c_while_saving(run, ends, tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "write_text", raising(KeyboardInterrupt()))
    assert run("connect", *ends, *DIGITS, "--profile-points", 0).status == 130
    assert not list(tmp_path.iterdir())


def test_ctrl_c_leaves_the_connection_that_was_there(run, ends, monkeypatch):
    assert run("connect", *ends, *DIGITS).status == 0
    before = Path("connection/connection.json").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", raising(KeyboardInterrupt()))
        assert run("connect", *ends, *DIGITS, "--seed", 1).status == 130
    assert Path("connection/connection.json").read_bytes() == before
    assert thalweg.load_connection("connection").connected


def test_a_signal_ends_a_training(tmp_path):
    command = [sys.executable, "-m", "thalweg", "train", "quadratic", "--threshold", "1e-9"]
    with subprocess.Popen(
        [*command, "--out", "x.safetensors"], cwd=tmp_path, stderr=subprocess.PIPE, text=True,
        # A shell that runs the tests in the background has its children ignore the signal.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:  # fmt: skip
        assert process.stderr is not None
        assert process.stderr.readline().startswith("training quadratic: ")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert err.endswith("thalweg: interrupted\n")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_while_saving_a_connection(run, ends, tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "write_text", raising(full()))
    run("connect", *ends, *DIGITS, "--profile-points", 0).refuses("No space left", "connection")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kept", ["connection.json", "path.safetensors"])
def test_a_full_disk_while_saving_the_picture(run, ends, monkeypatch, kept):
    monkeypatch.setattr(Path, "write_bytes", raising(full()))
    result = run("connect", *ends, *DIGITS)
    assert result.status == 2
    assert "No space left" in result.err
    assert Path("connection", kept).is_file()
    assert {f.name for f in Path("connection").iterdir()} == {"connection.json", "path.safetensors"}
    assert thalweg.load_connection("connection").connected


def test_a_full_disk_while_saving_a_checkpoint(run, tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "write_bytes", raising(full()))
    run("train", "digits", "--threshold", 1, "--out", "x.safetensors").refuses("No space left")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_while_saving_a_report(run, made, tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "write_text", raising(full()))
    run("report", made / "connection", "--out", "r.html").refuses("No space left", "r.html")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_elsewhere_is_a_sentence_too(run, ends, monkeypatch):
    monkeypatch.setattr(thalweg, "connect", raising(full()))
    run("connect", *ends, *DIGITS).refuses("No space left", "free some space")


def test_a_fault_of_ours_shows_its_traceback(run, ends, monkeypatch):
    monkeypatch.setattr(thalweg, "connect", raising(ZeroDivisionError("ours")))
    with pytest.raises(ZeroDivisionError, match="ours"):
        run("connect", *ends, *DIGITS)
