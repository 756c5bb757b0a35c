"""Commands run in process, in a folder of their own, with their real exit status."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from thalweg.cli import main


@dataclass(frozen=True)
class Result:
    status: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.out)

    def refuses(self, *words: str) -> None:
        """Bad input: status 2, one sentence on stderr, nothing on stdout, no traceback."""
        assert self.status == 2, self
        assert self.out == ""
        lines = self.err.splitlines()
        assert len(lines) == 1, lines
        assert lines[0].startswith("thalweg: ")
        for word in words:
            assert word in lines[0], lines[0]


Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path, monkeypatch, capsys) -> Run:
    """Run a command in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("THALWEG_DATA", raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def call(*arguments: object) -> Result:
        capsys.readouterr()
        status = main([str(argument) for argument in arguments])
        return Result(status, *capsys.readouterr())

    return call


@pytest.fixture(scope="session")
def made(tmp_path_factory) -> Path:
    """A folder with two trained networks, a.safetensors and b.safetensors, and their connection."""
    folder = tmp_path_factory.mktemp("made")
    ends = [folder / "a.safetensors", folder / "b.safetensors"]
    for seed, end in enumerate(ends):
        train = ["train", "digits", "--threshold", "0.1", "--seed", str(seed), "--out", str(end)]
        assert main(train) == 0
    connect = ["connect", *map(str, ends), "--task", "digits", "--threshold", "0.1"]
    assert main([*connect, "--out", str(folder / "connection")]) == 0
    return folder


@pytest.fixture
def ends(made) -> list[Path]:
    """The two trained networks."""
    return [made / "a.safetensors", made / "b.safetensors"]
