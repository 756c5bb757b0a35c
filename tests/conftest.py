"""Fixtures that several test folders share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_BESIDE_THE_CHECKOUT = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of the real data sets; a test that asks for it is skipped where there is none."""
    named = os.environ.get("THALWEG_DATA")
    folder = Path(named) if named else _BESIDE_THE_CHECKOUT
    if not folder.is_dir():
        pytest.skip("needs the real data sets: name their folder in THALWEG_DATA")
    return folder
