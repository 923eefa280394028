"""Attention forward as it is compiled: heads of 16 to 256, every kind of mask alone or with the others."""

from __future__ import annotations

from functools import partial

import torch
from ahead_of_time import Case
from torch import Tensor

from gptapps.kernels import Visibility
from gptapps.kernels.gpu.attention_forward import attention_forward


def inputs(size: int, dtype: torch.dtype, tokens: int) -> list[Tensor]:
    """Return queries, keys and values as a projection leaves them."""
    return [torch.empty(2, tokens, heads, size, dtype=dtype, device="meta").transpose(1, 2) for heads in (8, 2, 2)]


def numbers(count: int) -> Tensor:
    """Return whole numbers, for lengths and bounds."""
    return torch.empty(count, dtype=torch.int32, device="meta")


CAUSAL = Visibility(causal=True)
PACKED = Visibility(causal=True, query_bounds=numbers(9), key_bounds=numbers(9), longest=2048, longest_keys=2048)
WINDOW = Visibility(causal=True, window=512)
EVERY_BOUND = Visibility(causal=True, window=512, key_lengths=numbers(2), prefix_lengths=numbers(2), offsets=numbers(2))
MASK = Visibility(mask=torch.empty(1, 1, 2048, 2048, dtype=torch.bool, device="meta"))


def _call(
    size: int, dtype: torch.dtype, visible: Visibility, soft_cap: float | None, tokens: int, sinks: bool, wide: bool
) -> None:
    q, k, v = inputs(size, dtype, tokens)
    sink = torch.empty(q.shape[1], device="meta") if sinks else None
    attention_forward(q, k, v, visible, sink, scale=0.1, soft_cap=soft_cap, wide=wide)


def _case(
    name: str,
    size: int,
    visible: Visibility,
    dtype: torch.dtype = torch.bfloat16,
    soft_cap: float | None = None,
    tokens: int = 2048,
    sinks: bool = False,
    wide: bool = False,
    often: bool = True,
) -> Case:
    call = partial(_call, size, dtype, visible, soft_cap, tokens, sinks, wide)
    return Case(name, call, often=often)


CASES = [
    _case("bf16-d64-causal", 64, CAUSAL),
    _case("bf16-d128-causal", 128, CAUSAL),
    _case("bf16-d128-packed", 128, PACKED),
    _case("bf16-d96-mask", 96, MASK, often=False),
    _case("bf16-d16-causal", 16, CAUSAL),
    _case("fp16-d80-open", 80, Visibility(), torch.float16),
    _case("bf16-d128-bounds-cap-sinks", 128, EVERY_BOUND, soft_cap=50.0, sinks=True, wide=True),
    _case("bf16-d128-window-cap", 128, WINDOW, soft_cap=50.0, often=False),
    _case("bf16-d64-short", 64, CAUSAL, tokens=20),
    _case("bf16-d128-short", 128, CAUSAL, tokens=50, often=False),
    _case("bf16-d256-short", 256, CAUSAL, tokens=20),
    _case("bf16-d128-mask", 128, MASK, often=False),
    _case("bf16-d256-mask", 256, MASK),
    _case("bf16-d256-causal", 256, CAUSAL),
    _case("bf16-d256-window", 256, WINDOW, often=False),
    _case("bf16-d256-packed", 256, PACKED, often=False),
    _case("bf16-d256-bounds-cap-sinks", 256, EVERY_BOUND, soft_cap=50.0, sinks=True),
    _case("fp32-d64-causal", 64, CAUSAL, torch.float32),
    _case("fp32-d128-bounds", 128, EVERY_BOUND, torch.float32),
    _case("fp32-d256-window", 256, WINDOW, torch.float32, often=False),
    _case("fp32-d256-bounds", 256, EVERY_BOUND, torch.float32),
]
