"""Functions over tensors that the backbone is made of, behind one door.

The backbone calls ``kernels.attention`` and its neighbours and never asks which implementation answers: Triton's
kernels on a GPU, plain PyTorch elsewhere (:mod:`gptapps.kernels.dispatch`).
"""

from gptapps.kernels.activations import gated_activation, plain_activation
from gptapps.kernels.attention import attention, packed_attention, partial_attention
from gptapps.kernels.attention_merge import merge_attention
from gptapps.kernels.decode_attention import SharedPrefix, decode_attention
from gptapps.kernels.linear_cross_entropy import linear_cross_entropy
from gptapps.kernels.low_rank_linear import low_rank_linear
from gptapps.kernels.norms import add_layer_norm, add_rms_norm, layer_norm, rms_norm
from gptapps.kernels.packing import Packing
from gptapps.kernels.quantized_linear import (
    QuantizedWeight,
    dequantize_weight,
    quantize_weight,
    quantized_linear,
)
from gptapps.kernels.reference import linear
from gptapps.kernels.rotary import rotary
from gptapps.kernels.sampling import sample
from gptapps.kernels.visibility import Visibility

__all__ = [
    "Packing",
    "QuantizedWeight",
    "SharedPrefix",
    "Visibility",
    "add_layer_norm",
    "add_rms_norm",
    "attention",
    "decode_attention",
    "dequantize_weight",
    "gated_activation",
    "layer_norm",
    "linear",
    "linear_cross_entropy",
    "low_rank_linear",
    "merge_attention",
    "packed_attention",
    "partial_attention",
    "plain_activation",
    "quantize_weight",
    "quantized_linear",
    "rms_norm",
    "rotary",
    "sample",
]
