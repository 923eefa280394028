"""What linear layers of quantized weights launch."""

from __future__ import annotations

import torch
from ahead_of_time import Case

from gptapps.kernels.gpu.quantized_linear import quantized_linear


def multiply(bits: int, group: int, rows: int, *, dtype: torch.dtype = torch.bfloat16, features: int = 4096) -> object:
    channels = 4096
    x = torch.empty(rows, channels, dtype=dtype, device="meta")
    held = torch.int8 if bits == 8 else torch.uint8
    values = torch.empty(features, channels * bits // 8, dtype=held, device="meta")
    scales = torch.empty(features, channels // group, device="meta")
    bias = torch.empty(features, dtype=dtype, device="meta")
    return quantized_linear(x, values, scales, bias, group)


CASES = [
    Case("bf16-int8", lambda: multiply(8, 4096, 1)),
    Case("bf16-int4", lambda: multiply(4, 64, 1)),
    Case("fp16-int4-64-rows-128-columns", lambda: multiply(4, 128, 64, dtype=torch.float16, features=49152)),
    Case("fp32-int8-32-columns", lambda: multiply(8, 32, 1, dtype=torch.float32)),
    Case("fp32-int4-64-rows", lambda: multiply(4, 64, 64, dtype=torch.float32)),
]
