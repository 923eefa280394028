"""Attention backward for keys and values: a tile of keys walks over the queries of all heads that share it.

Symbols: B rows, T query tokens, S key tokens, H heads, K key/value heads, G = H / K, D head size.
"""

from __future__ import annotations

import triton
import triton.language as tl

from gptapps.kernels.gpu.attention_tiles import (
    LOG2_E,
    is_visible,
    load_tokens,
    multiply,
    query_range,
    row_bounds,
    squash,
    start_of,
    store_tokens,
)


@triton.jit
def _walk_queries(  # type: ignore[no-untyped-def]
    grad_k, grad_v, k, v, Q, Grad, LogSum, Delta, Mask, stride_q, stride_grad, stride_mask,
    begin, end, keys, prefix, queries, start, offset, scale, window, cap,
    CAUSAL: tl.constexpr, WINDOW: tl.constexpr, PREFIX: tl.constexpr, CAP: tl.constexpr, MASKED: tl.constexpr,
    D: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    others = start + tl.arange(0, BLOCK_N)
    for first in tl.range(begin, end, BLOCK_M):
        rows = first + tl.arange(0, BLOCK_M)
        within = rows < queries
        q = load_tokens(Q, first, queries, stride_q, D, BLOCK_M, BLOCK_D, True)
        log_sum = tl.load(LogSum + rows, mask=within, other=float("inf"))
        log_sum = tl.where(log_sum == float("-inf"), float("inf"), log_sum)  # who saw nothing has no weights
        scores = multiply(k, tl.trans(q))  # (BLOCK_N, BLOCK_M)
        factor = scale * LOG2_E
        slope = scores
        if CAP:
            scores = squash(scores * scale, cap)
            slope = 1.0 - scores * scores
            factor = cap * LOG2_E
        weights = tl.exp2(scores * factor - (log_sum * LOG2_E)[None, :])
        if MASKED:
            seen = is_visible((rows + offset)[None, :], others[:, None], keys, prefix, window, CAUSAL, WINDOW, PREFIX)
            if Mask is not None:
                places = Mask + rows.to(tl.int64)[None, :] * stride_mask + others[:, None]
                seen = seen & (tl.load(places, mask=within[None, :] & (others < keys)[:, None], other=0) != 0)
            weights = tl.where(seen, weights, 0.0)
        grad = load_tokens(Grad, first, queries, stride_grad, D, BLOCK_M, BLOCK_D, True)
        grad_v = multiply(weights.to(grad.dtype), grad, grad_v)
        delta = tl.load(Delta + rows, mask=within, other=0.0)
        grad_scores = weights * (multiply(v, tl.trans(grad)) - delta[None, :])
        if CAP:
            grad_scores = grad_scores * slope
        grad_k = multiply(grad_scores.to(q.dtype), q, grad_k)
    return grad_k, grad_v


@triton.jit(do_not_specialize=["T", "S", "window"])
def attention_backward_keys_kernel(  # type: ignore[no-untyped-def]
    Q,  # (B, H, T, D)
    K,  # (B, K, S, D)
    V,  # (B, K, S, D)
    Grad,  # (B, H, T, D)
    LogSum, Delta,  # (B, H, T) float32
    GradK, GradV,  # (B, K, S, D)
    Mask,  # (B or 1, H or 1, T, S) bytes, or None
    KeyLengths, PrefixLengths, Offsets,  # (B,) or None
    QueryBounds, KeyBounds,  # (rows + 1,) or None
    stride_q_row, stride_q_head, stride_q,
    stride_k_row, stride_k_head, stride_k,
    stride_v_row, stride_v_head, stride_v,
    stride_grad_row, stride_grad_head, stride_grad,
    stride_grad_k_row, stride_grad_k_head, stride_grad_k,
    stride_mask_row, stride_mask_head, stride_mask,
    T, S, scale, window, cap,
    GROUP: tl.constexpr, CAUSAL: tl.constexpr, WINDOW: tl.constexpr, CAP: tl.constexpr,
    D: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """Work out the gradients of a tile of keys and values; a program for each tile, K and row."""
    PACKED: tl.constexpr = QueryBounds is not None
    PREFIX: tl.constexpr = PrefixLengths is not None
    start, kv_head, row = tl.program_id(0) * BLOCK_N, tl.program_id(1), tl.program_id(2)
    heads = tl.num_programs(1) * GROUP
    first_query, queries, first_key, held, prefix, offset = row_bounds(
        row, T, S, QueryBounds, KeyBounds, None, PrefixLengths, Offsets
    )
    if start >= held:
        return
    keys = held
    if KeyLengths is not None:
        keys = tl.minimum(held, tl.load(KeyLengths + row).to(tl.int32))
        prefix = tl.minimum(prefix, keys)
    K = start_of(K, row, kv_head, first_key, stride_k_row, stride_k_head, stride_k, PACKED)
    V = start_of(V, row, kv_head, first_key, stride_v_row, stride_v_head, stride_v, PACKED)
    k = load_tokens(K, start, keys, stride_k, D, BLOCK_N, BLOCK_D, True)
    v = load_tokens(V, start, keys, stride_v, D, BLOCK_N, BLOCK_D, True)
    grad_k = tl.zeros((BLOCK_N, BLOCK_D), tl.float32)
    grad_v = tl.zeros((BLOCK_N, BLOCK_D), tl.float32)
    begin, full_begin, full_end, end = query_range(
        start, tl.minimum(start + BLOCK_N, keys), queries, prefix, offset, window,
        CAUSAL, WINDOW, PREFIX, Mask is not None, BLOCK_M,
    )  # fmt: skip
    for member in tl.range(0, GROUP):
        head = kv_head * GROUP + member
        Q_head = start_of(Q, row, head, first_query, stride_q_row, stride_q_head, stride_q, PACKED)
        Grad_head = start_of(Grad, row, head, first_query, stride_grad_row, stride_grad_head, stride_grad, PACKED)
        LogSum_head = start_of(LogSum, row * heads, 0, first_query, T, 0, 1, PACKED) + tl.cast(head, tl.int64) * T
        Delta_head = start_of(Delta, row * heads, 0, first_query, T, 0, 1, PACKED) + tl.cast(head, tl.int64) * T
        Mask_head = Mask
        if Mask is not None:
            Mask_head = start_of(Mask, row, head, 0, stride_mask_row, stride_mask_head, 0, False)
        grad_k, grad_v = _walk_queries(
            grad_k, grad_v, k, v, Q_head, Grad_head, LogSum_head, Delta_head, Mask_head,
            stride_q, stride_grad, stride_mask, begin, tl.minimum(full_begin, end),
            keys, prefix, queries, start, offset, scale, window, cap,
            CAUSAL, WINDOW, PREFIX, CAP, True, D, BLOCK_D, BLOCK_M, BLOCK_N,
        )  # fmt: skip
        if Mask is None:
            grad_k, grad_v = _walk_queries(
                grad_k, grad_v, k, v, Q_head, Grad_head, LogSum_head, Delta_head, Mask_head,
                stride_q, stride_grad, stride_mask, full_begin, full_end,
                keys, prefix, queries, start, offset, scale, window, cap,
                CAUSAL, WINDOW, PREFIX, CAP, False, D, BLOCK_D, BLOCK_M, BLOCK_N,
            )  # fmt: skip
        if WINDOW:
            grad_k, grad_v = _walk_queries(
                grad_k, grad_v, k, v, Q_head, Grad_head, LogSum_head, Delta_head, Mask_head,
                stride_q, stride_grad, stride_mask, full_end, end,
                keys, prefix, queries, start, offset, scale, window, cap,
                CAUSAL, WINDOW, PREFIX, CAP, True, D, BLOCK_D, BLOCK_M, BLOCK_N,
            )  # fmt: skip
    kept = (start + tl.arange(0, BLOCK_N) < keys)[:, None]
    grad_k = tl.where(kept, grad_k * scale, 0.0)
    grad_v = tl.where(kept, grad_v, 0.0)
    GradK = start_of(GradK, row, kv_head, first_key, stride_grad_k_row, stride_grad_k_head, stride_grad_k, PACKED)
    GradV = start_of(GradV, row, kv_head, first_key, stride_grad_k_row, stride_grad_k_head, stride_grad_k, PACKED)
    store_tokens(GradK, grad_k, start, held, stride_grad_k, D, BLOCK_N, BLOCK_D)
    store_tokens(GradV, grad_v, start, held, stride_grad_k, D, BLOCK_N, BLOCK_D)
