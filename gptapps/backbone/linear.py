"""The one place where the backbone makes a linear layer, so that another kind can take its place."""

from __future__ import annotations

from torch import Tensor, nn

from gptapps import kernels


class Linear(nn.Linear):
    """``x @ weight.T + bias`` by :func:`gptapps.kernels.linear`."""

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., outputs) for (..., inputs)."""
        return kernels.linear(x, self.weight, self.bias)


def linear(inputs: int, outputs: int, *, bias: bool) -> nn.Linear:
    """Return a layer with weight (outputs, inputs) and, where asked, a bias (outputs,)."""
    return Linear(inputs, outputs, bias=bias)
