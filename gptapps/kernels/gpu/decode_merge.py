"""Merging attention over disjoint sets of keys by their log-sum-exps.

Symbols: N parts, B batch, H heads, D head size.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from gptapps.kernels.gpu.launching import next_power_of_2


@triton.jit(do_not_specialize=["count"])
def _merge_parts(  # type: ignore[no-untyped-def]
    parts,  # (N, B, H, D)
    part_log_sums,  # (N, B, H)
    out,  # (B, H, D)
    log_sums,  # (B, H)
    count,
    SIZE: tl.constexpr,
    PADDED: tl.constexpr,
    PARTS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row, rows = tl.program_id(0).to(tl.int64), tl.num_programs(0)
    every = tl.arange(0, PARTS)
    logs = tl.load(part_log_sums + every.to(tl.int64) * rows + row, mask=every < count, other=float("-inf"))
    best = tl.max(logs, 0)
    pivot = tl.where(best == float("-inf"), 0.0, best)
    total = tl.sum(tl.exp(logs - pivot), 0)
    total = tl.where(total > 0, total, 1.0)
    channel = tl.arange(0, PADDED)
    gathered = tl.zeros((PADDED,), tl.float32)
    for start in range(0, count, BLOCK):
        part = start + tl.arange(0, BLOCK)
        place = part.to(tl.int64) * rows + row
        log = tl.load(part_log_sums + place, mask=part < count, other=float("-inf"))
        some = (log > float("-inf"))[:, None] & (channel < SIZE)[None, :]
        part_out = tl.load(parts + place[:, None] * SIZE + channel[None, :], mask=some, other=0.0)
        gathered += tl.sum(part_out * tl.exp(log - pivot)[:, None], 0)
    tl.store(out + row * SIZE + channel, (gathered / total).to(out.dtype.element_ty), mask=channel < SIZE)
    tl.store(log_sums + row, best + tl.log(total))


def merge_parts(parts: Tensor, part_log_sums: Tensor, out: Tensor, log_sums: Tensor) -> None:
    """Write what attention over all parts gives.

    Args:
        parts: (N, B, H, D) float32; anything where the log-sum-exp is -inf.
        part_log_sums: (N, B, H) float32.
        out: (B, H, D).
        log_sums: (B, H) float32.

    Source: Dao et al. 2022 (FlashAttention), section 3.1.
    """
    count, size = len(parts), out.shape[-1]
    _merge_parts[(log_sums.numel(),)](
        parts,
        part_log_sums,
        out,
        log_sums,
        count,
        SIZE=size,
        PADDED=next_power_of_2(size),
        PARTS=next_power_of_2(count),
        BLOCK=min(8, next_power_of_2(count)),
        num_warps=2,
    )
