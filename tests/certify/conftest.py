"""Fixtures of the tests of certificates."""

from __future__ import annotations

import pytest

from thalweg.certify import jacobians, rules_recurrent


@pytest.fixture(params=["as it is", "float32"])
def arithmetic(request, monkeypatch):
    """Everything in float32, however small the network and narrow the piece."""
    if request.param == "float32":
        monkeypatch.setattr(jacobians, "single_is_safe", lambda _: True)
        monkeypatch.setattr(rules_recurrent, "WIDE", 0.0)
    return request.param
