"""Functions over tensors that the backbone is made of, behind one door.

The backbone calls ``kernels.attention`` and its neighbours and never asks which implementation answers:
today the plain PyTorch of :mod:`gptapps.kernels.reference`, on every device.
"""

from gptapps.kernels.reference import (
    attention,
    gated_activation,
    layer_norm,
    linear,
    merge_attention,
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
    "merge_attention",
    "partial_attention",
    "plain_activation",
    "rms_norm",
    "rotary",
]
