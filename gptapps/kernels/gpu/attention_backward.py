"""Attention backward: the weights are computed again from the log-sum-exp, tile by tile.

With weights p = exp(s - log-sum-exp), output o and its gradient g, and delta = sum(g o) - (gradient of log-sum-exp):
d v = p^T g, d s = p (g v^T - delta), d q = scale (d s) k, d k = scale (d s)^T q; under a cap d s shrinks by 1 - tanh^2.
One pass walks over the queries of a tile of keys, of all heads that share it, and one over the keys of a tile of
queries: no two programs add to the same number, so the same bits come out twice.

Symbols: B rows, T query tokens, S key tokens, H heads, K key/value heads, G = H / K, D head size.

Source: Dao 2023 (FlashAttention-2), algorithm 2.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from gptapps.kernels.gpu.attention_backward_keys import attention_backward_keys_kernel
from gptapps.kernels.gpu.attention_backward_queries import attention_backward_queries_kernel
from gptapps.kernels.gpu.attention_sizes import backward_key_sizes, backward_query_sizes, padded_head
from gptapps.kernels.gpu.attention_tiles import bytes_of, channels_last, contiguous, load_tokens, start_of
from gptapps.kernels.gpu.launching import cdiv, on_device
from gptapps.kernels.visibility import Visibility


@triton.jit(do_not_specialize=["T"])
def attention_delta_kernel(  # type: ignore[no-untyped-def]
    Out,  # (B, H, T, D)
    Grad,  # (B, H, T, D)
    GradLogSum,  # (B, H, T) float32, or None
    Delta,  # (B, H, T) float32
    stride_out_row, stride_out_head, stride_out,
    stride_grad_row, stride_grad_head, stride_grad,
    T, D: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Work out ``sum(out * grad)`` less the gradient of the log-sum-exp."""
    start, head, row = tl.program_id(0) * BLOCK, tl.program_id(1), tl.program_id(2)
    Out = start_of(Out, row, head, 0, stride_out_row, stride_out_head, stride_out, False)
    Grad = start_of(Grad, row, head, 0, stride_grad_row, stride_grad_head, stride_grad, False)
    line = (tl.cast(row, tl.int64) * tl.num_programs(1) + head) * T
    out = load_tokens(Out, start, T, stride_out, D, BLOCK, BLOCK_D, True).to(tl.float32)
    grad = load_tokens(Grad, start, T, stride_grad, D, BLOCK, BLOCK_D, True).to(tl.float32)
    delta = tl.sum(out * grad, 1)
    rows = start + tl.arange(0, BLOCK)
    if GradLogSum is not None:
        delta -= tl.load(GradLogSum + line + rows, mask=rows < T, other=0.0)
    tl.store(Delta + line + rows, delta, mask=rows < T)


def attention_backward(
    grad: Tensor,
    grad_log_sum: Tensor | None,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    log_sum: Tensor,
    visible: Visibility,
    *,
    scale: float,
    soft_cap: float | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Launch the backward kernels.

    Args:
        grad: (B, H, T, D) gradient of the output.
        grad_log_sum: (B, H, T) gradient of the log-sum-exp; None for zero.
        q, k, v, visible, scale, soft_cap: as the forward pass got them.
        out, log_sum: what it gave.

    Returns:
        Gradients of ``q`` (B, H, T, D), ``k`` and ``v`` (B, K, S, D), in memory (B, tokens, heads, D), and delta
        (B, H, T) float32, from which the sinks' gradient follows.
    """
    grad, q, k, v, out = (channels_last(x) for x in (grad, q, k, v, out))
    batch, heads, tokens, size = q.shape
    kv_heads, keys = k.shape[1:3]
    grad_q = torch.empty((batch, tokens, heads, size), dtype=q.dtype, device=q.device).transpose(1, 2)
    grad_k, grad_v = (
        torch.empty((batch, keys, kv_heads, size), dtype=k.dtype, device=q.device).transpose(1, 2) for _ in range(2)
    )
    delta = torch.empty((batch, heads, tokens), dtype=torch.float32, device=q.device)
    if grad_log_sum is not None:
        grad_log_sum = grad_log_sum.contiguous()
    bounds = visible.query_bounds
    rows, longest, longest_keys = batch, tokens, keys
    if bounds is not None:
        rows, longest = bounds.numel() - 1, visible.longest
        longest_keys = keys if visible.most_keys is None else visible.most_keys
    mask, mask_strides = bytes_of(visible.mask)
    block_d = padded_head(size)
    lengths = contiguous(visible.key_lengths, visible.prefix_lengths, visible.offsets, bounds, visible.key_bounds)
    shared = {
        "GROUP": heads // kv_heads,
        "CAUSAL": visible.causal,
        "WINDOW": visible.window is not None,
        "CAP": soft_cap is not None,
        "D": size,
        "BLOCK_D": block_d,
    }
    numbers = (tokens, keys, scale, visible.window or 0, soft_cap or 0.0)
    strides = (*q.stride()[:3], *k.stride()[:3], *v.stride()[:3], *grad.stride()[:3])
    with on_device(q):
        if delta.numel():
            attention_delta_kernel[cdiv(tokens, 32), heads, batch](
                out, grad, grad_log_sum, delta, *out.stride()[:3], *grad.stride()[:3],
                tokens, D=size, BLOCK_D=block_d, BLOCK=32, num_warps=4,
            )  # fmt: skip
        if rows * kv_heads * longest_keys:
            sizes = backward_key_sizes(q, longest_keys)
            attention_backward_keys_kernel[cdiv(longest_keys, sizes.block_n), kv_heads, rows](
                q, k, v, grad, log_sum, delta, grad_k, grad_v, mask, *lengths,
                *strides, *grad_k.stride()[:3], *mask_strides, *numbers,
                BLOCK_M=sizes.block_m, BLOCK_N=sizes.block_n, num_warps=sizes.warps, num_stages=sizes.stages, **shared,
            )  # fmt: skip
        if rows * heads * longest:
            sizes = backward_query_sizes(q, longest)
            attention_backward_queries_kernel[cdiv(longest, sizes.block_m), heads, rows](
                q, k, v, grad, log_sum, delta, grad_q, mask, *lengths,
                *strides, *grad_q.stride()[:3], *mask_strides, *numbers,
                BLOCK_M=sizes.block_m, BLOCK_N=sizes.block_n, num_warps=sizes.warps, num_stages=sizes.stages, **shared,
            )  # fmt: skip
    return grad_q, grad_k, grad_v, delta
