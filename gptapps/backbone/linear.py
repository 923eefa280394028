"""The one place where the backbone makes a linear layer, so that another kind can take its place."""

from __future__ import annotations

from torch import nn


def linear(inputs: int, outputs: int, *, bias: bool) -> nn.Linear:
    """Return a layer with weight (outputs, inputs) and, where asked, a bias (outputs,)."""
    return nn.Linear(inputs, outputs, bias=bias)
