"""Flat vectors θ, stacks `[k, p]`, named tensors and checkpoint files."""

from thalweg.parameters.checkpoint import load_checkpoint, replacing, save_checkpoint
from thalweg.parameters.layout import Layout
from thalweg.parameters.resolve import (
    Source,
    aliases,
    check_finite,
    fingerprint,
    named_tensors,
    resolve,
)
from thalweg.parameters.rows import IN_MEMORY, RowFile, each_row, release

__all__ = [
    "IN_MEMORY",
    "Layout",
    "RowFile",
    "Source",
    "aliases",
    "check_finite",
    "each_row",
    "fingerprint",
    "load_checkpoint",
    "named_tensors",
    "release",
    "replacing",
    "resolve",
    "save_checkpoint",
]
