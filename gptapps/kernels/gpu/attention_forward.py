"""Attention forward: a tile of queries walks over its keys with a running softmax.

A program holds a tile of one head's queries, the softmax's greatest score and sum so far, and the output so far, which
is rescaled when the greatest score grows. Scores are in units of log 2. Keys that all queries of the tile see are
walked over without a mask.

Symbols: B rows, T query tokens, S key tokens, H heads, K key/value heads, G = H / K, D head size.

Source: Dao 2023 (FlashAttention-2), algorithm 1; a window's and a prefix's bounds and the sink fold into its loop.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from gptapps.kernels.gpu.attention_sizes import forward_sizes, padded_head
from gptapps.kernels.gpu.attention_tiles import (
    LN_2,
    LOG2_E,
    bytes_of,
    channels_last,
    contiguous,
    is_visible,
    key_range,
    load_tokens,
    multiply,
    row_bounds,
    squash,
    start_of,
    store_tokens,
)
from gptapps.kernels.gpu.launching import cdiv, on_device
from gptapps.kernels.visibility import Visibility


@triton.jit
def _walk(  # type: ignore[no-untyped-def]
    state, q, Q, K, V, Mask, stride_q, stride_k, stride_v, stride_mask,
    begin, end, keys, prefix, queries, start, offset, scale, window, cap,
    CAUSAL: tl.constexpr, WINDOW: tl.constexpr, PREFIX: tl.constexpr, CAP: tl.constexpr, MASKED: tl.constexpr,
    D: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    out, top, total = state
    rows = start + tl.arange(0, BLOCK_M)
    for first in tl.range(begin, end, BLOCK_N):
        if q is None:
            HALF: tl.constexpr = BLOCK_D // 2
            scores = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
            for half in tl.static_range(2):
                some_q = load_tokens(Q + half * HALF, start, queries, stride_q, D - half * HALF, BLOCK_M, HALF, True)
                some_k = load_tokens(K + half * HALF, first, keys, stride_k, D - half * HALF, BLOCK_N, HALF, MASKED)
                scores = multiply(some_q, tl.trans(some_k), scores)
        else:
            k = load_tokens(K, first, keys, stride_k, D, BLOCK_N, BLOCK_D, MASKED)
            scores = multiply(q, tl.trans(k))  # (BLOCK_M, BLOCK_N)
        factor = scale * LOG2_E
        if CAP:
            scores = squash(scores * scale, cap)
            factor = cap * LOG2_E
        if MASKED:
            others = first + tl.arange(0, BLOCK_N)
            seen = is_visible((rows + offset)[:, None], others[None, :], keys, prefix, window, CAUSAL, WINDOW, PREFIX)
            if Mask is not None:
                places = Mask + rows.to(tl.int64)[:, None] * stride_mask + others[None, :]
                within = (rows < queries)[:, None] & (others < keys)[None, :]
                seen = seen & (tl.load(places, mask=within, other=0) != 0)
            scores = tl.where(seen, scores, float("-inf"))
        new_top = tl.maximum(top, tl.max(scores, 1) * factor)
        base = new_top
        if MASKED:
            base = tl.where(new_top == float("-inf"), 0.0, new_top)  # a row that has seen nothing yet
        weights = tl.exp2(scores * factor - base[:, None])
        shrink = tl.exp2(top - base)
        total = total * shrink + tl.sum(weights, 1)
        v = load_tokens(V, first, keys, stride_v, D, BLOCK_N, BLOCK_D, MASKED)
        out = multiply(weights.to(v.dtype), v, out * shrink[:, None])
        top = new_top
    return out, top, total


@triton.jit(do_not_specialize=["T", "S", "window"])
def attention_forward_kernel(  # type: ignore[no-untyped-def]
    Q,  # (B, H, T, D)
    K,  # (B, K, S, D)
    V,  # (B, K, S, D)
    Out,  # (B, H, T, D)
    LogSum,  # (B, H, T) float32
    Mask,  # (B or 1, H or 1, T, S) bytes, or None
    KeyLengths, PrefixLengths, Offsets,  # (B,) or None
    QueryBounds, KeyBounds,  # (rows + 1,) or None
    Sinks,  # (H,) or None
    stride_q_row, stride_q_head, stride_q,
    stride_k_row, stride_k_head, stride_k,
    stride_v_row, stride_v_head, stride_v,
    stride_out_row, stride_out_head, stride_out,
    stride_mask_row, stride_mask_head, stride_mask,
    T, S, scale, window, cap,
    GROUP: tl.constexpr, CAUSAL: tl.constexpr, WINDOW: tl.constexpr, CAP: tl.constexpr,
    D: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """Attend from a tile of one head's queries; a program for each tile, head and row."""
    PACKED: tl.constexpr = QueryBounds is not None
    PREFIX: tl.constexpr = PrefixLengths is not None
    head, row = tl.program_id(1), tl.program_id(2)
    first_query, queries, first_key, keys, prefix, offset = row_bounds(
        row, T, S, QueryBounds, KeyBounds, KeyLengths, PrefixLengths, Offsets
    )
    start = (tl.num_programs(0) - 1 - tl.program_id(0)) * BLOCK_M  # the longest walks first
    if start >= queries:
        return
    kv_head = head // GROUP
    Q = start_of(Q, row, head, first_query, stride_q_row, stride_q_head, stride_q, PACKED)
    K = start_of(K, row, kv_head, first_key, stride_k_row, stride_k_head, stride_k, PACKED)
    V = start_of(V, row, kv_head, first_key, stride_v_row, stride_v_head, stride_v, PACKED)
    Out = start_of(Out, row, head, first_query, stride_out_row, stride_out_head, stride_out, PACKED)
    LogSum = start_of(LogSum, row * tl.num_programs(1), 0, first_query, T, 0, 1, PACKED) + tl.cast(head, tl.int64) * T
    if Mask is not None:
        Mask = start_of(Mask, row, head, 0, stride_mask_row, stride_mask_head, 0, False)
    if Q.dtype.element_ty == tl.float32 and BLOCK_D > 64:
        q = None  # in the three parts of full precision too much for the registers: read with each tile of keys
    else:
        q = load_tokens(Q, start, queries, stride_q, D, BLOCK_M, BLOCK_D, True)
    rows = start + tl.arange(0, BLOCK_M)
    out = tl.zeros((BLOCK_M, BLOCK_D), tl.float32)
    if Sinks is None:
        top = tl.full((BLOCK_M,), float("-inf"), tl.float32)
        total = tl.zeros((BLOCK_M,), tl.float32)
    else:
        top = tl.zeros((BLOCK_M,), tl.float32) + tl.load(Sinks + head).to(tl.float32) * LOG2_E
        total = tl.full((BLOCK_M,), 1.0, tl.float32)
    begin, full_begin, full_end, end = key_range(
        start, tl.minimum(start + BLOCK_M, queries), keys, prefix, offset, window,
        CAUSAL, WINDOW, PREFIX, Mask is not None, BLOCK_N,
    )  # fmt: skip
    state = (out, top, total)
    if WINDOW:
        state = _walk(
            state, q, Q, K, V, Mask, stride_q, stride_k, stride_v, stride_mask, begin, tl.minimum(full_begin, end),
            keys, prefix, queries, start, offset, scale, window, cap,
            CAUSAL, WINDOW, PREFIX, CAP, True, D, BLOCK_D, BLOCK_M, BLOCK_N,
        )  # fmt: skip
    if Mask is None:
        state = _walk(
            state, q, Q, K, V, Mask, stride_q, stride_k, stride_v, stride_mask, full_begin, full_end,
            keys, prefix, queries, start, offset, scale, window, cap,
            CAUSAL, WINDOW, PREFIX, CAP, False, D, BLOCK_D, BLOCK_M, BLOCK_N,
        )  # fmt: skip
    out, top, total = _walk(
        state, q, Q, K, V, Mask, stride_q, stride_k, stride_v, stride_mask, full_end, end,
        keys, prefix, queries, start, offset, scale, window, cap,
        CAUSAL, WINDOW, PREFIX, CAP, True, D, BLOCK_D, BLOCK_M, BLOCK_N,
    )  # fmt: skip
    saw_nothing = total == 0.0
    total = tl.where(saw_nothing, 1.0, total)
    out = out / total[:, None]
    log_sum = tl.where(saw_nothing, float("-inf"), (top + tl.log2(total)) * LN_2)
    store_tokens(Out, out, start, queries, stride_out, D, BLOCK_M, BLOCK_D)
    tl.store(LogSum + rows, log_sum, mask=rows < queries)


def attention_forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    visible: Visibility,
    sinks: Tensor | None,
    *,
    scale: float,
    soft_cap: float | None,
    wide: bool,
) -> tuple[Tensor, Tensor]:
    """Launch the forward kernel.

    Args:
        q: (B, H, T, D); B is 1 for packed texts.
        k, v: (B, K, S, D).
        visible: which keys each query may look at.
        sinks: (H,) a logit of each head that has no value; None for none.
        scale: multiplies the scores.
        soft_cap: scores are squashed to (-cap, cap) by tanh; None for not at all.
        wide: give the output in float32 instead of the dtype of ``q``.

    Returns:
        Output (B, H, T, D), in memory (B, T, H, D), and log-sum-exp (B, H, T) float32.
    """
    q, k, v = channels_last(q), channels_last(k), channels_last(v)
    batch, heads, tokens, size = q.shape
    dtype = torch.float32 if wide else q.dtype
    out = torch.empty((batch, tokens, heads, size), dtype=dtype, device=q.device).transpose(1, 2)
    log_sum = torch.empty((batch, heads, tokens), dtype=torch.float32, device=q.device)
    bounds = visible.query_bounds
    rows, longest = (batch, tokens) if bounds is None else (bounds.numel() - 1, visible.longest)
    if rows * heads * longest == 0:
        return out, log_sum
    mask, mask_strides = bytes_of(visible.mask)
    vectors = contiguous(
        visible.key_lengths, visible.prefix_lengths, visible.offsets, bounds, visible.key_bounds, sinks
    )
    sizes = forward_sizes(q, longest)
    with on_device(q):
        attention_forward_kernel[cdiv(longest, sizes.block_m), heads, rows](
            q, k, v, out, log_sum, mask, *vectors,
            *q.stride()[:3], *k.stride()[:3], *v.stride()[:3], *out.stride()[:3], *mask_strides,
            tokens, k.shape[2], scale, visible.window or 0, soft_cap or 0.0,
            GROUP=heads // k.shape[1], CAUSAL=visible.causal, WINDOW=visible.window is not None,
            CAP=soft_cap is not None, D=size, BLOCK_D=padded_head(size), BLOCK_M=sizes.block_m, BLOCK_N=sizes.block_n,
            num_warps=sizes.warps, num_stages=sizes.stages,
        )  # fmt: skip
    return out, log_sum
