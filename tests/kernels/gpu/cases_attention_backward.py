"""Attention backward as it is compiled: heads of 64, 128 and 256, every kind of mask somewhere."""

from __future__ import annotations

from functools import partial

import torch
from ahead_of_time import ARCHITECTURES, Case
from cases_attention import CAUSAL, PACKED, inputs

from gptapps.kernels import Visibility
from gptapps.kernels.gpu.attention_backward import attention_backward


def _call(size: int, dtype: torch.dtype, visible: Visibility) -> None:
    q, k, v = inputs(size, dtype, 2048)
    log_sum = torch.empty(q.shape[:3], device="meta")
    attention_backward(q, None, q, k, v, q, log_sum, visible, scale=0.1, soft_cap=None)


def _case(
    name: str,
    size: int,
    visible: Visibility,
    dtype: torch.dtype = torch.bfloat16,
    architectures: tuple[int, ...] = ARCHITECTURES,
) -> Case:
    return Case(name, partial(_call, size, dtype, visible), spill_ceiling=512, architectures=architectures)


CASES = [
    _case("bf16-d64-packed", 64, PACKED),
    _case("bf16-d128-causal", 128, CAUSAL),
    _case("bf16-d64-window", 64, Visibility(causal=True, window=512)),
    _case("bf16-d256-causal", 256, CAUSAL, architectures=(90,)),
    _case("fp32-d64-causal", 64, CAUSAL, torch.float32, architectures=(90,)),
]
