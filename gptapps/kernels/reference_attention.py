"""Attention with every kind of mask in plain PyTorch, forward and backward: what the kernels are checked against.

Symbols: B rows, T query tokens, S key tokens, H heads, K key/value heads, G = H / K, D head size.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from gptapps.kernels.visibility import Visibility


def masked_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    visible: Visibility,
    sinks: Tensor | None,
    *,
    scale: float,
    soft_cap: float | None,
) -> tuple[Tensor, Tensor]:
    """Attend where ``visible`` says, in float32 or wider.

    Args:
        q: (B, H, T, D).
        k, v: (B, K, S, D), H a multiple of K.
        visible: which keys each query may look at.
        sinks: (H,) a logit of each head that has no value; None for none.
        scale: multiplies the scores.
        soft_cap: scores are squashed to (-cap, cap) by tanh; None for not at all.

    Returns:
        Output (B, H, T, D) and log-sum-exp (B, H, T). A query that sees nothing has 0 and its sink's logit, or -inf.

    Source: Vaswani et al. 2017, equation 1; Xiao et al. 2023 (sinks), section 3.3; Gemma 2 2024, section 2 (soft cap).
    """
    weights, log_sum, _ = _weights(q, k, visible, sinks, scale, soft_cap)
    return weights @ _for_heads(v, q), log_sum


def masked_attention_backward(
    grad: Tensor,
    grad_log_sum: Tensor | None,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    visible: Visibility,
    sinks: Tensor | None,
    *,
    scale: float,
    soft_cap: float | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of ``q``, ``k`` and ``v``, and delta (B, H, T), as the kernels work them out.

    Args:
        grad: (B, H, T, D) of the output.
        grad_log_sum: (B, H, T); None for zero.
        q, k, v, visible, sinks, scale, soft_cap: see :func:`masked_attention`.

    Source: Dao 2023 (FlashAttention-2), section 2.3.
    """
    weights, _, slope = _weights(q, k, visible, sinks, scale, soft_cap)
    wide, keys, values = _widen(grad), _for_heads(k, q), _for_heads(v, q)
    grad_weights = wide @ values.transpose(-1, -2)
    delta = (weights * grad_weights).sum(-1)
    if grad_log_sum is not None:
        delta = delta - grad_log_sum
    grad_scores = weights * (grad_weights - delta.unsqueeze(-1))
    if slope is not None:
        grad_scores = grad_scores * slope
    grad_q = scale * grad_scores @ keys
    grad_k = scale * grad_scores.transpose(-1, -2) @ _widen(q)
    grad_v = weights.transpose(-1, -2) @ wide
    batch, kv_heads, tokens, size = k.shape
    grad_k, grad_v = (x.view(batch, kv_heads, -1, tokens, size).sum(2) for x in (grad_k, grad_v))
    return grad_q.to(q.dtype), grad_k.to(k.dtype), grad_v.to(v.dtype), delta


def open_attention(
    q: Tensor, k: Tensor, v: Tensor, texts: Sequence[int], *, scale: float, window: int | None
) -> Tensor:
    """Attend within each packed text, both ways.

    Args:
        q: (1, H, T, D).
        k, v: (1, K, T, D), H a multiple of K.
        texts: how many tokens each text has; T in all.
        scale: multiplies the scores.
        window: how many tokens to either side, itself included, a query may look; None for all.

    Returns:
        (1, H, T, D).
    """
    queries, keys, values = (torch.split(tensor, list(texts), 2) for tensor in (q, k, v))
    parts = zip(queries, keys, values, strict=True)
    return torch.cat([_both_ways(*part, scale=scale, window=window) for part in parts], 2)


def _both_ways(q: Tensor, k: Tensor, v: Tensor, *, scale: float, window: int | None) -> Tensor:
    tokens = q.shape[2]
    mask = None
    if window is not None and tokens > window:
        mask = Visibility(window=window).dense(1, tokens, tokens, q.device)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale, enable_gqa=q.shape[1] > k.shape[1])


def _weights(
    q: Tensor, k: Tensor, visible: Visibility, sinks: Tensor | None, scale: float, soft_cap: float | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    scores = scale * _widen(q) @ _for_heads(k, q).transpose(-1, -2)  # (B, H, T, S)
    slope = None
    if soft_cap is not None:
        squashed = torch.tanh(scores / soft_cap)
        scores, slope = soft_cap * squashed, 1 - squashed.square()
    seen = visible.dense(q.shape[0], q.shape[2], k.shape[2], q.device)
    # Not -inf, whose gradient is not a number where nothing is seen.
    scores = scores.masked_fill(~seen, torch.finfo(scores.dtype).min / 2)
    beside = scores[..., :0] if sinks is None else _widen(sinks).view(1, -1, 1, 1).expand(*scores.shape[:3], 1)
    log_sum = torch.cat((scores, beside), -1).logsumexp(-1)
    weights = (scores - log_sum.unsqueeze(-1)).exp().masked_fill(~seen, 0.0)
    if sinks is None:
        log_sum = log_sum.masked_fill(~seen.any(-1), -torch.inf)
    return weights, log_sum, slope


def _for_heads(x: Tensor, q: Tensor) -> Tensor:
    return _widen(x).repeat_interleave(q.shape[1] // x.shape[1], 1)


def _widen(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
