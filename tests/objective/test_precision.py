"""What cuDNN may do is set for a block and as before after it; settings exist without a GPU."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch

from thalweg.objective.precision import exact_cudnn, without_cudnn

cudnn: Any = torch.backends.cudnn


def settings() -> tuple[Any, ...]:
    try:
        legacy = cudnn.allow_tf32
    except RuntimeError:
        legacy = "mixed"
    return legacy, cudnn.enabled, *(
        getattr(getattr(cudnn, layer, None), "fp32_precision", None) for layer in ("conv", "rnn")
    )  # fmt: skip


@pytest.fixture(autouse=True)
def _as_if_built_with_cuda(monkeypatch):
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)


@pytest.fixture(params=["default", "allowed", "forbidden"])
def chosen(request):
    """What a user may have set before."""
    before = cudnn.allow_tf32
    if request.param != "default":
        cudnn.allow_tf32 = request.param == "allowed"
    yield settings()
    cudnn.allow_tf32 = before


def test_tf32_is_off_within_the_block_alone(chosen):
    with exact_cudnn:
        assert cudnn.allow_tf32 is False
        with without_cudnn:
            assert not cudnn.enabled
    assert settings() == chosen


def test_an_error_restores_the_settings(chosen):
    with pytest.raises(ZeroDivisionError), exact_cudnn, without_cudnn:
        _ = 1 / 0
    assert settings() == chosen


@pytest.mark.skipif(not hasattr(cudnn, "conv"), reason="needs settings for each kind of layer")
def test_settings_of_single_layers_are_kept():
    before = cudnn.conv.fp32_precision
    cudnn.conv.fp32_precision = "ieee"
    try:
        chosen = settings()
        with exact_cudnn:
            assert settings()[2:] == ("ieee", "ieee")
        assert settings() == chosen
    finally:
        cudnn.conv.fp32_precision = before


def test_settings_stay_until_the_last_thread_has_left():
    before, entered, leave = settings(), threading.Event(), threading.Event()

    def inside():
        with exact_cudnn:
            entered.set()
            leave.wait(10)

    other = threading.Thread(target=inside)
    with exact_cudnn:
        other.start()
        entered.wait(10)
    assert cudnn.allow_tf32 is False
    leave.set()
    other.join()
    assert settings() == before


def test_nothing_is_set_where_there_is_no_cuda(monkeypatch):
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: False)
    before = settings()
    with exact_cudnn, without_cudnn:
        assert settings() == before
