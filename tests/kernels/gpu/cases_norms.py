"""Norms as blocks of models call them."""

from __future__ import annotations

import torch
from ahead_of_time import Case

from gptapps.kernels.gpu.norms import norm_forward
from gptapps.kernels.gpu.norms_backward import norm_backward

BF16, FP32 = torch.bfloat16, torch.float32


def forward(rows: int, channels: int, dtype: torch.dtype, centred: bool, added: bool) -> None:
    x, weight = (torch.empty(shape, dtype=dtype, device="meta") for shape in ((rows, channels), (channels,)))
    norm_forward(x, x if added else None, weight, weight if centred else None, 1e-5, centred)


def backward(rows: int, channels: int, dtype: torch.dtype, centred: bool, added: bool) -> None:
    x, weight = (torch.empty(shape, dtype=dtype, device="meta") for shape in ((rows, channels), (channels,)))
    statistics = torch.empty(2 if centred else 1, rows, device="meta")
    norm_backward(x, x if added else None, x, weight, statistics, centred, centred)


def of_heads() -> None:
    qkv, weight = torch.empty(4, 512, 24, 128, dtype=BF16, device="meta"), torch.empty(128, dtype=BF16, device="meta")
    norm_forward(qkv[:, :, :16], None, weight, None, 1e-6, False)


CASES = [
    Case("forward-heads-bf16-128", of_heads),
    Case("forward-rms-bf16-576", lambda: forward(4096, 576, BF16, False, False)),
    Case("forward-add-rms-bf16-4096", lambda: forward(4096, 4096, BF16, False, True)),
    Case("forward-add-layer-bf16-768", lambda: forward(4096, 768, BF16, True, True)),
    Case("forward-add-layer-fp32-8192", lambda: forward(4096, 8192, FP32, True, True)),
    Case("forward-add-rms-fp32-32768", lambda: forward(4096, 32768, FP32, False, True)),
    Case("backward-add-rms-bf16-576", lambda: backward(4096, 576, BF16, False, True)),
    Case("backward-add-rms-bf16-4096", lambda: backward(4096, 4096, BF16, False, True)),
    Case("backward-add-layer-bf16-768", lambda: backward(4096, 768, BF16, True, True)),
    Case("backward-add-layer-fp32-4096", lambda: backward(4096, 4096, FP32, True, True)),
    Case("backward-add-rms-fp32-8192", lambda: backward(4096, 8192, FP32, False, True)),
    Case("backward-add-layer-fp32-8192", lambda: backward(4096, 8192, FP32, True, True)),
    Case("backward-add-rms-fp32-32768", lambda: backward(4096, 32768, FP32, False, True)),
]
