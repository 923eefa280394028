"""Attention over two sets of keys merged into attention over both.

Symbols: B batch, T query tokens, H heads, D head size.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from gptapps.kernels.gpu.launching import cdiv, next_power_of_2, on_device

_NUMBERS_AT_ONCE = 4096


@triton.jit(do_not_specialize=["count", "tokens"])
def _merge(  # type: ignore[no-untyped-def]
    first,  # (B, H, T, D)
    first_log_sums,  # (B, H, T)
    second,
    second_log_sums,
    out,
    log_sums,
    stride_first_row, stride_first_head, stride_first,
    stride_second_row, stride_second_head, stride_second,
    stride_out_row, stride_out_head, stride_out,
    count,
    tokens,
    HEADS: tl.constexpr,
    SIZE: tl.constexpr,
    PADDED: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    query = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = query < count
    token, head, row = query % tokens, query // tokens % HEADS, query // tokens // HEADS
    one = tl.load(first_log_sums + query, mask=inside, other=float("-inf"))
    other = tl.load(second_log_sums + query, mask=inside, other=float("-inf"))
    best = tl.maximum(one, other)
    pivot = tl.where(best == float("-inf"), 0.0, best)
    share, other_share = tl.exp(one - pivot), tl.exp(other - pivot)
    total = share + other_share
    saw_nothing = total == 0.0
    total = tl.where(saw_nothing, 1.0, total)
    channel = tl.arange(0, PADDED)[None, :]
    some = inside[:, None] & (channel < SIZE)
    at = first + (row * stride_first_row + head * stride_first_head + token * stride_first)[:, None] + channel
    merged = tl.load(at, mask=some, other=0.0).to(tl.float32) * (share / total)[:, None]
    at = second + (row * stride_second_row + head * stride_second_head + token * stride_second)[:, None] + channel
    merged += tl.load(at, mask=some, other=0.0).to(tl.float32) * (other_share / total)[:, None]
    at = out + (row * stride_out_row + head * stride_out_head + token * stride_out)[:, None] + channel
    tl.store(at, merged, mask=some)
    tl.store(log_sums + query, tl.where(saw_nothing, float("-inf"), pivot + tl.log(total)), mask=inside)


def merge(first: Tensor, first_log_sums: Tensor, second: Tensor, second_log_sums: Tensor) -> tuple[Tensor, Tensor]:
    """Return attention over both sets of keys.

    Args:
        first: (B, H, T, D), finite also where its log-sum-exp is -inf.
        first_log_sums: (B, H, T, 1) float32.
        second, second_log_sums: the same over other keys.

    Returns:
        Output (B, H, T, D) float32, in memory (B, T, H, D), and log-sum-exp (B, H, T, 1) float32; 0 and -inf where
        neither saw anything.
    """
    batch, heads, tokens, size = first.shape
    out = torch.empty((batch, tokens, heads, size), dtype=torch.float32, device=first.device).transpose(1, 2)
    log_sums = torch.empty((batch, heads, tokens, 1), dtype=torch.float32, device=first.device)
    if not out.numel():
        return out, log_sums
    first, second = (x if x.stride(-1) == 1 else x.contiguous() for x in (first, second))
    padded = next_power_of_2(size)
    block = max(_NUMBERS_AT_ONCE // padded, 1)
    with on_device(first):
        _merge[(cdiv(log_sums.numel(), block),)](
            first,
            first_log_sums.contiguous(),
            second,
            second_log_sums.contiguous(),
            out,
            log_sums,
            *first.stride()[:3],
            *second.stride()[:3],
            *out.stride()[:3],
            log_sums.numel(),
            tokens,
            HEADS=heads,
            SIZE=size,
            PADDED=padded,
            BLOCK=block,
            num_warps=4,
        )
    return out, log_sums
