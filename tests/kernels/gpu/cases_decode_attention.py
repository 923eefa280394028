"""What decode attention launches: head sizes, groups, windows and prefixes that models have."""

from __future__ import annotations

import torch
from ahead_of_time import Case
from torch import Tensor

from gptapps.kernels.gpu.decode_attention import decode_attention


def meta(*shape: int, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


def decode(
    size: int,
    group: int,
    *,
    batch: int = 8,
    slots: int = 4096,
    dtype: torch.dtype = torch.bfloat16,
    prefix: int = 0,
    window: int | None = None,
    sinks: bool = False,
    soft_cap: float | None = None,
) -> object:
    q, keys = meta(batch, 8 * group, size, dtype=dtype), meta(batch, 8, slots, size, dtype=dtype)
    lengths = meta(batch, dtype=torch.int32)
    shared = [meta(8, prefix, size, dtype=dtype)] if prefix else []
    rows = [lengths] * len(shared)
    sink = meta(8 * group) if sinks else None
    return decode_attention(q, keys, keys, lengths, shared, shared, rows, rows, sink, size**-0.5, window, soft_cap)


CASES = [
    Case("bf16-d64-group3", lambda: decode(64, 3)),
    Case("bf16-d64-group3-in-one-part", lambda: decode(64, 3, slots=64), often=False),
    Case("fp16-d80-group1-prefix", lambda: decode(80, 1, dtype=torch.float16, prefix=1024)),
    Case("bf16-d128-group4-prefix", lambda: decode(128, 4, prefix=1024, batch=32)),
    Case("bf16-d64-group3-prefix", lambda: decode(64, 3, prefix=1024, batch=32), often=False),
    Case("fp32-d64-group3-prefix", lambda: decode(64, 3, dtype=torch.float32, prefix=1024, batch=32)),
    Case("bf16-d256-group4-window-prefix", lambda: decode(256, 4, prefix=1024, batch=32, window=512)),
    Case("bf16-d256-window-sinks-cap", lambda: decode(256, 4, window=512, sinks=True, soft_cap=50.0)),
    Case("fp32-d256-group4-prefix", lambda: decode(256, 4, dtype=torch.float32, prefix=512, batch=32)),
]
