"""Attention backward for queries: a tile of queries walks over its keys.

Symbols: B rows, T query tokens, S key tokens, H heads, K key/value heads, G = H / K, D head size.
"""

from __future__ import annotations

import triton
import triton.language as tl

from gptapps.kernels.gpu.attention_tiles import (
    LOG2_E,
    is_visible,
    key_range,
    load_tokens,
    multiply,
    row_bounds,
    squash,
    start_of,
    store_tokens,
)


@triton.jit
def _walk_keys(  # type: ignore[no-untyped-def]
    grad_q, q, grad, log_sum, delta, K, V, Mask, stride_k, stride_v, stride_mask,
    begin, end, keys, prefix, queries, start, offset, scale, window, cap,
    CAUSAL: tl.constexpr, WINDOW: tl.constexpr, PREFIX: tl.constexpr, CAP: tl.constexpr, MASKED: tl.constexpr,
    D: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    rows = start + tl.arange(0, BLOCK_M)
    for first in tl.range(begin, end, BLOCK_N):
        k = load_tokens(K, first, keys, stride_k, D, BLOCK_N, BLOCK_D, MASKED)
        v = load_tokens(V, first, keys, stride_v, D, BLOCK_N, BLOCK_D, MASKED)
        scores = multiply(q, tl.trans(k))  # (BLOCK_M, BLOCK_N)
        factor = scale * LOG2_E
        slope = scores
        if CAP:
            scores = squash(scores * scale, cap)
            slope = 1.0 - scores * scores
            factor = cap * LOG2_E
        weights = tl.exp2(scores * factor - log_sum[:, None])
        if MASKED:
            others = first + tl.arange(0, BLOCK_N)
            seen = is_visible((rows + offset)[:, None], others[None, :], keys, prefix, window, CAUSAL, WINDOW, PREFIX)
            if Mask is not None:
                places = Mask + rows.to(tl.int64)[:, None] * stride_mask + others[None, :]
                within = (rows < queries)[:, None] & (others < keys)[None, :]
                seen = seen & (tl.load(places, mask=within, other=0) != 0)
            weights = tl.where(seen, weights, 0.0)
        grad_scores = weights * (multiply(grad, tl.trans(v)) - delta[:, None])
        if CAP:
            grad_scores = grad_scores * slope
        grad_q = multiply(grad_scores.to(k.dtype), k, grad_q)
    return grad_q


@triton.jit(do_not_specialize=["T", "S", "window"])
def attention_backward_queries_kernel(  # type: ignore[no-untyped-def]
    Q,  # (B, H, T, D)
    K,  # (B, K, S, D)
    V,  # (B, K, S, D)
    Grad,  # (B, H, T, D)
    LogSum, Delta,  # (B, H, T) float32
    GradQ,  # (B, H, T, D)
    Mask,  # (B or 1, H or 1, T, S) bytes, or None
    KeyLengths, PrefixLengths, Offsets,  # (B,) or None
    QueryBounds, KeyBounds,  # (rows + 1,) or None
    stride_q_row, stride_q_head, stride_q,
    stride_k_row, stride_k_head, stride_k,
    stride_v_row, stride_v_head, stride_v,
    stride_grad_row, stride_grad_head, stride_grad,
    stride_grad_q_row, stride_grad_q_head, stride_grad_q,
    stride_mask_row, stride_mask_head, stride_mask,
    T, S, scale, window, cap,
    GROUP: tl.constexpr, CAUSAL: tl.constexpr, WINDOW: tl.constexpr, CAP: tl.constexpr,
    D: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """Work out the gradient of a tile of queries; a program for each tile, head and row."""
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
    Grad = start_of(Grad, row, head, first_query, stride_grad_row, stride_grad_head, stride_grad, PACKED)
    GradQ = start_of(GradQ, row, head, first_query, stride_grad_q_row, stride_grad_q_head, stride_grad_q, PACKED)
    lines = tl.cast(head, tl.int64) * T
    LogSum = start_of(LogSum, row * tl.num_programs(1), 0, first_query, T, 0, 1, PACKED) + lines
    Delta = start_of(Delta, row * tl.num_programs(1), 0, first_query, T, 0, 1, PACKED) + lines
    if Mask is not None:
        Mask = start_of(Mask, row, head, 0, stride_mask_row, stride_mask_head, 0, False)
    rows = start + tl.arange(0, BLOCK_M)
    q = load_tokens(Q, start, queries, stride_q, D, BLOCK_M, BLOCK_D, True)
    grad = load_tokens(Grad, start, queries, stride_grad, D, BLOCK_M, BLOCK_D, True)
    log_sum = tl.load(LogSum + rows, mask=rows < queries, other=float("inf"))
    log_sum = tl.where(log_sum == float("-inf"), float("inf"), log_sum) * LOG2_E  # who saw nothing has no weights
    delta = tl.load(Delta + rows, mask=rows < queries, other=0.0)
    begin, full_begin, full_end, end = key_range(
        start, tl.minimum(start + BLOCK_M, queries), keys, prefix, offset, window,
        CAUSAL, WINDOW, PREFIX, Mask is not None, BLOCK_N,
    )  # fmt: skip
    grad_q = tl.zeros((BLOCK_M, BLOCK_D), tl.float32)
    if WINDOW:
        grad_q = _walk_keys(
            grad_q, q, grad, log_sum, delta, K, V, Mask, stride_k, stride_v, stride_mask,
            begin, tl.minimum(full_begin, end), keys, prefix, queries, start, offset, scale, window, cap,
            CAUSAL, WINDOW, PREFIX, CAP, True, D, BLOCK_D, BLOCK_M, BLOCK_N,
        )  # fmt: skip
    if Mask is None:
        grad_q = _walk_keys(
            grad_q, q, grad, log_sum, delta, K, V, Mask, stride_k, stride_v, stride_mask,
            full_begin, full_end, keys, prefix, queries, start, offset, scale, window, cap,
            CAUSAL, WINDOW, PREFIX, CAP, False, D, BLOCK_D, BLOCK_M, BLOCK_N,
        )  # fmt: skip
    grad_q = _walk_keys(
        grad_q, q, grad, log_sum, delta, K, V, Mask, stride_k, stride_v, stride_mask,
        full_end, end, keys, prefix, queries, start, offset, scale, window, cap,
        CAUSAL, WINDOW, PREFIX, CAP, True, D, BLOCK_D, BLOCK_M, BLOCK_N,
    )  # fmt: skip
    store_tokens(GradQ, grad_q * scale, start, queries, stride_grad_q, D, BLOCK_M, BLOCK_D)
