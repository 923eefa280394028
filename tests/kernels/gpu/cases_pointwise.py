"""Rotation, activations and the loss as models call them."""

from __future__ import annotations

import torch
from ahead_of_time import Case
from torch import Tensor

from gptapps.kernels.gpu.activations import activate, activate_backward
from gptapps.kernels.gpu.attention_merge import merge
from gptapps.kernels.gpu.linear_cross_entropy import Terms, loss_and_gradients
from gptapps.kernels.gpu.rotary import rotate

BF16, FP32 = torch.bfloat16, torch.float32


def empty(*shape: int, dtype: torch.dtype = BF16) -> Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


def turned(heads: int, size: int, rotated: int, interleaved: bool, transposed: bool, dtype: torch.dtype) -> None:
    table = empty(4, 512, 1, rotated, dtype=dtype)
    qkv = empty(4, 512, heads + 8, size, dtype=dtype)
    rotate(qkv[:, :, :heads], table, table, interleaved, transposed)


def activated(name: str, gated: bool, dtype: torch.dtype) -> None:
    columns = 1536
    x = empty(8, 512, columns * (2 if gated else 1), dtype=dtype)
    activate(x, name, gated)
    activate_backward(empty(8, 512, columns, dtype=dtype), x, name, gated)


def lost(vocabulary: int, terms: Terms, dtype: torch.dtype, *, learns: bool = True) -> None:
    hidden, weight = empty(4096, 576, dtype=dtype), empty(vocabulary, 576, dtype=dtype)
    targets = torch.empty(4096, dtype=torch.int64, device="meta")
    weights = empty(4096, dtype=FP32)
    loss_and_gradients(hidden, weight, None, targets, weights, targets, terms, None, (learns, learns, False), dtype)


def merged(heads: int, size: int) -> None:
    parts = [empty(4, 512, heads, size, dtype=FP32).transpose(1, 2) for _ in range(2)]
    log_sums = [empty(4, heads, 512, 1, dtype=FP32) for _ in range(2)]
    merge(parts[0], log_sums[0], parts[1], log_sums[1])


CASES = [
    Case("merge-d64", lambda: merged(9, 64)),
    Case("merge-d128", lambda: merged(32, 128)),
    Case("merge-d256", lambda: merged(4, 256)),
    Case("bf16-llama", lambda: turned(40, 128, 128, False, False, BF16)),
    Case("bf16-llama-back", lambda: turned(12, 64, 64, False, True, BF16)),
    Case("bf16-gptj", lambda: turned(32, 256, 64, True, False, BF16)),
    Case("fp32-gptj-back", lambda: turned(32, 256, 64, True, True, FP32)),
    Case("bf16-gelu", lambda: activated("gelu", False, BF16)),
    Case("bf16-geglu", lambda: activated("gelu_tanh", True, BF16)),
    Case("bf16-swiglu", lambda: activated("silu", True, BF16)),
    Case("fp32-swiglu", lambda: activated("silu", True, FP32)),
    Case("bf16-loss", lambda: lost(49152, Terms(None, 0.0, 0.0), BF16)),
    Case("bf16-loss-alone", lambda: lost(49152, Terms(None, 0.0, 0.0), BF16, learns=False)),
    Case("bf16-loss-all-terms", lambda: lost(50257, Terms(30.0, 0.1, 1e-4), BF16)),
    Case("fp32-loss", lambda: lost(49152, Terms(None, 0.1, 0.0), FP32)),
]
