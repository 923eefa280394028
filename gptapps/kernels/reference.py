"""The backbone's operations in plain PyTorch: the CPU path, and the oracle for any faster one.

Symbols: B batch, T query tokens, S key tokens, H heads, K key/value heads, G = H / K, D head size.
No function writes into its inputs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

_FEW_ROWS = 16


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return ``x @ weight.T + bias``.

    On the CPU, MKL multiplies a matrix by one vector on a single thread, and few rows by a transposed matrix at a
    fraction of the memory's speed. Written the other way round, and one row as two, the same product reads the
    weights two to three times as fast, which is what decoding waits for.

    Args:
        x: (..., C).
        weight: (F, C).
        bias: (F,) or None.

    Returns:
        (..., F).
    """
    rows = x.numel() // x.shape[-1]
    if rows > _FEW_ROWS or x.device.type != "cpu" or x.dtype != torch.float32 or rows == 0:
        return F.linear(x, weight, bias)
    flat = x.reshape(rows, -1)
    if rows == 1:
        flat = flat.expand(2, -1).contiguous()
    out = torch.matmul(weight, flat.T)[:, :rows].T.reshape(*x.shape[:-1], weight.shape[0])
    return out if bias is None else out + bias


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor | None, epsilon: float) -> Tensor:
    """Normalize the last axis to mean 0 and variance 1, then scale and shift.

    Args:
        x: (..., C).
        weight: (C,).
        bias: (C,) or None.
        epsilon: added to the variance.

    Source: Ba, Kiros and Hinton 2016, equation 4.
    """
    return F.layer_norm(x, weight.shape, weight, bias, epsilon)


def rms_norm(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """Divide the last axis by its root mean square, computed in float32 or wider, then scale.

    Args:
        x: (..., C).
        weight: (C,).
        epsilon: added to the mean square.

    Source: Zhang and Sennrich 2019, equation 4.
    """
    wide = _widen(x)
    scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + epsilon)
    return (wide * scale).to(x.dtype) * weight


def rotary(x: Tensor, cos: Tensor, sin: Tensor, *, interleaved: bool) -> Tensor:
    """Rotate pairs of channels by an angle that grows with the position.

    Args:
        x: (B, T, heads, D).
        cos: (B, T, 1, R), R <= D; channels past R pass unchanged.
        sin: (B, T, 1, R), negative where the pair's first channel stands.
        interleaved: pairs are (0, 1), (2, 3), … instead of (0, R/2), (1, R/2 + 1), …

    Returns:
        (B, T, heads, D).

    Source: Su et al. 2021, equation 34.
    """
    size = cos.shape[-1]
    turned, rest = (x, None) if size == x.shape[-1] else (x[..., :size], x[..., size:])
    if interleaved:
        partner = turned.reshape(*turned.shape[:-1], size // 2, 2).flip(-1).reshape(turned.shape)
    else:
        partner = turned.roll(size // 2, -1)
    turned = torch.addcmul(turned * cos, partner, sin)
    return turned if rest is None else torch.cat((turned, rest), -1)


def plain_activation(x: Tensor, name: str) -> Tensor:
    """Apply ``gelu`` (erf), ``gelu_tanh``, ``silu`` or ``relu`` to each element of ``x``."""
    match name:
        case "gelu":
            return F.gelu(x)
        case "gelu_tanh":
            return F.gelu(x, approximate="tanh")
        case "silu":
            return F.silu(x)
        case "relu":
            return F.relu(x)
    raise ValueError(f"There is no activation {name!r}.")


def gated_activation(gate_and_up: Tensor, name: str) -> Tensor:
    """Return ``activation(gate) * up`` for ``gate_and_up`` (..., 2F), gate first: SwiGLU, GEGLU.

    Source: Shazeer 2020, equation 6.
    """
    gate, up = gate_and_up.chunk(2, -1)
    return plain_activation(gate, name) * up


def attention(q: Tensor, k: Tensor, v: Tensor, *, scale: float, mask: Tensor | None, causal: bool) -> Tensor:
    """Scaled dot-product attention with grouped queries.

    Args:
        q: (B, H, T, D).
        k: (B, K, S, D), H a multiple of K.
        v: (B, K, S, D).
        scale: multiplies the scores.
        mask: (B or 1, 1, T, S) bool, True where a query may look; None for everywhere.
        causal: query t looks at keys 0..t; only with ``mask=None`` and T = S.

    Returns:
        (B, H, T, D).

    Source: Vaswani et al. 2017, equation 1; grouped queries: Ainslie et al. 2023.
    """
    batch, heads, tokens, size = q.shape
    groups = heads // k.shape[1]
    if tokens == 1 and groups > 1:
        # One query token: the heads of a group become the query axis, and no key is repeated.
        folded = q.reshape(batch, -1, groups, size)
        return F.scaled_dot_product_attention(folded, k, v, attn_mask=mask, scale=scale).reshape(q.shape)
    return F.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, is_causal=causal and tokens > 1, scale=scale, enable_gqa=groups > 1
    )


def packed_attention(
    q: Tensor, k: Tensor, v: Tensor, *, shared: int = 0, lengths: Sequence[int], scale: float, window: int | None
) -> Tensor:
    """Causal attention over texts that lie one behind the other, none of which sees another.

    What all texts begin with may stand once in front of them: each sees it, and itself.

    Args:
        q: (1, H, T, D).
        k: (1, K, T, D), H a multiple of K.
        v: (1, K, T, D).
        shared: tokens that all texts begin with.
        lengths: of what follows in each text; T in all with the shared tokens.
        scale: multiplies the scores.
        window: how many tokens back, itself included, a query may look; None for all.

    Returns:
        (1, H, T, D).
    """
    # Text by text: one masked attention over all of them is ten times as slow on the CPU.
    parts = [torch.split(tensor, [shared, *lengths], 2) for tensor in (q, k, v)]
    opening, *texts = zip(*parts, strict=True)
    if not shared:
        return torch.cat([_text_attention(*text, scale=scale, window=window) for text in texts], 2)
    # Attention over the opening again for each text costs less than a mask would; its layers are what is saved.
    whole = ([torch.cat(both, 2) for both in zip(opening, text, strict=True)] for text in texts)
    behind = (_text_attention(*text, scale=scale, window=window)[:, :, shared:] for text in whole)
    return torch.cat([_text_attention(*opening, scale=scale, window=window), *behind], 2)


def _text_attention(q: Tensor, k: Tensor, v: Tensor, *, scale: float, window: int | None) -> Tensor:
    tokens = q.shape[2]
    mask = None
    if window is not None and tokens > window:
        places = torch.arange(tokens, device=q.device)
        distance = places.unsqueeze(1) - places
        mask = (distance >= 0) & (distance < window)
    return F.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, is_causal=mask is None, scale=scale, enable_gqa=q.shape[1] > k.shape[1]
    )


def partial_attention(q: Tensor, k: Tensor, v: Tensor, *, scale: float, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Attention over a part of the keys, with what is needed to merge it with the rest.

    Args:
        q: (B, H, T, D).
        k: (B or 1, K, S, D); 1 where all rows share the keys, which are then read once.
        v: (B or 1, K, S, D).
        scale: multiplies the scores.
        mask: (B or 1, 1, T, S) bool, True where a query may look; None for everywhere.

    Returns:
        Output (B, H, T, D) and log-sum-exp of the scores (B, H, T, 1), both float32 or wider. A query that
        may look nowhere has output 0 and log-sum-exp -inf.
    """
    batch, heads, tokens, size = q.shape
    kv_heads, keys = k.shape[1], k.shape[2]
    groups = heads // kv_heads
    grouped = _widen(q).reshape(batch, kv_heads, groups, tokens, size)  # (B, K, G, T, D)
    shared = k.shape[0] == 1
    if shared:
        folded = grouped.transpose(0, 1).reshape(1, kv_heads, -1, size)  # (1, K, B G T, D)
    else:
        folded = grouped.reshape(batch, kv_heads, -1, size)  # (B, K, G T, D)
    scores = (folded * scale) @ _widen(k).transpose(-1, -2)
    if mask is not None:
        if shared:
            scores = scores.view(kv_heads, batch, groups, tokens, keys)
            visible = mask.view(1, len(mask), 1, tokens, keys)
        else:
            scores = scores.view(batch, kv_heads, groups, tokens, keys)
            visible = mask.view(len(mask), 1, 1, tokens, keys)
        scores = scores.masked_fill(~visible, -torch.inf).view(*folded.shape[:-1], keys)
    log_sum = scores.logsumexp(-1, keepdim=True)
    weights = (scores - log_sum.clamp_min(torch.finfo(torch.float32).min)).exp()
    out = weights @ _widen(v)
    if shared:
        out = out.view(kv_heads, batch, -1, size).transpose(0, 1)
        log_sum = log_sum.view(kv_heads, batch, -1, 1).transpose(0, 1)
    return out.reshape(batch, heads, tokens, size), log_sum.reshape(batch, heads, tokens, 1)


def merge_attention(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Combine attention over two disjoint sets of keys into attention over their union.

    Args:
        first: output (..., D) and log-sum-exp (..., 1) of :func:`partial_attention`.
        second: the same over other keys.

    Returns:
        Output and log-sum-exp over both; 0 and -inf where neither saw anything.

    Source: Dao et al. 2022 (FlashAttention), section 3.1.
    """
    (out_a, log_a), (out_b, log_b) = first, second
    pivot = torch.maximum(log_a, log_b).detach()  # on which nothing depends
    pivot = torch.where(pivot == -torch.inf, 0.0, pivot)
    share_a, share_b = (log_a - pivot).exp(), (log_b - pivot).exp()
    saw = share_a + share_b > 0
    total = torch.where(saw, share_a + share_b, 1.0)
    out = (out_a * share_a + out_b * share_b) / total
    return out, torch.where(saw, pivot + total.log(), -torch.inf)


def _widen(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
