"""Which models are chains of linear layers and elementwise functions."""

from __future__ import annotations

import pytest
from torch import nn

from thalweg.objective.chain import chain_of


def test_a_layer_with_a_hook_is_no_part_of_a_chain():
    model = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
    assert len(chain_of(model)) == 3
    hooked = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
    hooked[0].register_forward_hook(lambda module, inputs, output: -output)
    with pytest.raises(RuntimeError, match="neither a linear layer nor elementwise"):
        chain_of(hooked)
