"""Fixtures that several test folders share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

# The same examples every time: a test that passes here passes everywhere.
settings.register_profile("fixed", derandomize=True, deadline=None, database=None)
settings.load_profile("fixed")

_BESIDE_THE_CHECKOUT = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of the real data sets; a test that asks for it is skipped where there is none."""
    named = os.environ.get("THALWEG_DATA")
    folder = Path(named) if named else _BESIDE_THE_CHECKOUT
    if not folder.is_dir():
        pytest.skip("needs the real data sets: name their folder in THALWEG_DATA")
    return folder


@pytest.fixture(scope="session")
def cuda() -> torch.device:
    """The GPU; a test that asks for it is skipped where there is none."""
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU that PyTorch can use as 'cuda'")
    return torch.device("cuda")


@pytest.fixture(scope="session", autouse=True)
def _plans_of_their_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Choices of strategy made by tests are not remembered for anybody else."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("THALWEG_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
