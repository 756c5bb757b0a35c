"""Flat vectors θ, stacks `[k, p]`, named tensors and checkpoint files."""

from thalweg.parameters.checkpoint import load_checkpoint, replacing, save_checkpoint
from thalweg.parameters.layout import Layout
from thalweg.parameters.resolve import Source, aliases, check_finite, fingerprint, resolve

__all__ = [
    "Layout",
    "Source",
    "aliases",
    "check_finite",
    "fingerprint",
    "load_checkpoint",
    "replacing",
    "resolve",
    "save_checkpoint",
]
