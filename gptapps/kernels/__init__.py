"""Functions over tensors that the backbone is made of, behind one door.

The backbone calls ``kernels.attention`` and its neighbours and never asks which implementation answers:
today the plain PyTorch of :mod:`gptapps.kernels.reference` and of the modules beside it, on every device.
"""

from gptapps.kernels.linear_cross_entropy import linear_cross_entropy
from gptapps.kernels.low_rank_linear import low_rank_linear
from gptapps.kernels.reference import (
    attention,
    gated_activation,
    layer_norm,
    linear,
    merge_attention,
    packed_attention,
    partial_attention,
    plain_activation,
    rms_norm,
    rotary,
)

__all__ = [
    "attention",
    "gated_activation",
    "layer_norm",
    "linear",
    "linear_cross_entropy",
    "low_rank_linear",
    "merge_attention",
    "packed_attention",
    "partial_attention",
    "plain_activation",
    "rms_norm",
    "rotary",
]
