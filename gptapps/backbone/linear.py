"""The one place where the backbone makes its matrices, so that another kind can take their place.

On the meta device, where a model is laid out before its weights are read, nothing is initialized: drawing numbers there
would load half of PyTorch's compiler, a second of every start.
"""

from __future__ import annotations

from torch import Tensor, nn

from gptapps import kernels


class Linear(nn.Linear):
    """``x @ weight.T + bias`` by :func:`gptapps.kernels.linear`."""

    def reset_parameters(self) -> None:
        """Initialize as PyTorch does, but for the meta device."""
        if not self.weight.is_meta:
            super().reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., outputs) for (..., inputs)."""
        return kernels.linear(x, self.weight, self.bias)


class Embedding(nn.Embedding):
    """A row of weights for each id."""

    def reset_parameters(self) -> None:
        """Initialize as PyTorch does, but for the meta device."""
        if not self.weight.is_meta:
            super().reset_parameters()


def linear(inputs: int, outputs: int, *, bias: bool) -> nn.Linear:
    """Return a layer with weight (outputs, inputs) and, where asked, a bias (outputs,)."""
    return Linear(inputs, outputs, bias=bias)


def embedding(ids: int, channels: int) -> nn.Embedding:
    """Return a table with weight (ids, channels)."""
    return Embedding(ids, channels)
