"""A backbone whose blocks hold their matrices in 8 or 4 bits, so that decoding reads a half or a quarter of the bytes.

Symbols: C inputs, F outputs.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from gptapps import kernels
from gptapps.backbone.gpt import GPTBackbone
from gptapps.backbone.linear import Linear


class QuantizedLinear(nn.Module):
    """``x @ weight.T + bias`` by :func:`gptapps.kernels.quantized_linear`.

    Args:
        layer: whose weights are rounded.
        bits: of a weight.
        group: columns that share a scale; None for the default of :func:`gptapps.kernels.quantize_weight`.
    """

    values: Tensor
    scales: Tensor

    def __init__(self, layer: nn.Linear, *, bits: Literal[4, 8], group: int | None = None) -> None:
        super().__init__()
        quantized = kernels.quantize_weight(layer.weight.detach(), bits=bits, group=group)
        self.group = quantized.group
        self.register_buffer("values", quantized.values)
        self.register_buffer("scales", quantized.scales)
        self.bias = layer.bias

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., F) for (..., C)."""
        return kernels.quantized_linear(x, kernels.QuantizedWeight(self.values, self.scales, self.group), self.bias)


def quantize_blocks(backbone: GPTBackbone, *, bits: Literal[4, 8], group: int | None = None) -> None:
    """Put quantized layers in the place of the blocks' linear ones; embeddings and norms stay as they are.

    It is for inference: nothing can be learned, saved or merged into it afterwards.

    Args:
        backbone: which; it is changed.
        bits: of a weight.
        group: columns that share a scale; None for the whole row with 8 bits, 64 with 4.

    Raises:
        OptionError: the group is no power of two from 32 on.

    Example:
        >>> quantize_blocks(model.backbone, bits=8)   # doctest: +SKIP
    """
    for module in list(backbone.blocks.modules()):
        for name, child in module.named_children():
            if isinstance(child, Linear):
                setattr(module, name, QuantizedLinear(child, bits=bits, group=group))
