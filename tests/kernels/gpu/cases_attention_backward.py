"""Attention backward as it is compiled: heads of 16 to 256, every kind of mask alone or with the others."""

from __future__ import annotations

from functools import partial

import torch
from ahead_of_time import Case
from cases_attention import CAUSAL, EVERY_BOUND, MASK, PACKED, WINDOW, inputs

from gptapps.kernels import Visibility
from gptapps.kernels.gpu.attention_backward import attention_backward


def _call(size: int, dtype: torch.dtype, visible: Visibility, soft_cap: float | None, merged: bool) -> None:
    q, k, v = inputs(size, dtype, 2048)
    log_sum = torch.empty(q.shape[:3], device="meta")
    grad_log_sum = log_sum if merged else None
    attention_backward(q, grad_log_sum, q, k, v, q, log_sum, visible, scale=0.1, soft_cap=soft_cap)


def _case(
    name: str,
    size: int,
    visible: Visibility,
    dtype: torch.dtype = torch.bfloat16,
    soft_cap: float | None = None,
    merged: bool = False,
    often: bool = True,
) -> Case:
    call = partial(_call, size, dtype, visible, soft_cap, merged)
    return Case(name, call, spill_ceiling=512, often=often)


CASES = [
    _case("bf16-d64-packed", 64, PACKED),
    _case("bf16-d128-causal", 128, CAUSAL),
    _case("bf16-d128-bounds-cap", 128, EVERY_BOUND, soft_cap=50.0),
    _case("bf16-d16-open", 16, Visibility(), often=False),
    _case("bf16-d64-window", 64, WINDOW, often=False),
    _case("bf16-d80-mask-cap", 80, MASK, soft_cap=50.0),
    _case("bf16-d256-causal", 256, CAUSAL),
    _case("bf16-d256-bounds-cap", 256, EVERY_BOUND, soft_cap=50.0, often=False),
    _case("bf16-d128-packed", 128, PACKED, often=False),
    _case("fp16-d64-merged", 64, CAUSAL, torch.float16, merged=True),
    _case("fp32-d64-causal", 64, CAUSAL, torch.float32),
    _case("fp32-d256-causal", 256, CAUSAL, torch.float32, often=False),
    _case("fp32-d128-bounds", 128, EVERY_BOUND, torch.float32),
]
