"""Decode attention in plain PyTorch: the CPU path of the operation, and the oracle of its kernel.

Symbols: B batch, S slots of the cache, P keys of a prefix, H heads, K key/value heads, G = H / K, D head size.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def decode_attention(
    q: Tensor,
    keys: Tensor,
    values: Tensor,
    lengths: Tensor,
    prefix_keys: Sequence[Tensor],
    prefix_values: Sequence[Tensor],
    prefix_lengths: Sequence[Tensor],
    prefix_places: Sequence[Tensor],
    sinks: Tensor | None,
    scale: float,
    window: int | None,
    soft_cap: float | None,
) -> tuple[Tensor, Tensor]:
    """Compute :func:`gptapps.kernels.decode_attention`, its prefixes spread over four lists."""
    batch, heads, size = q.shape
    kv_heads = keys.shape[1]
    grouped = _widen(q).reshape(batch, kv_heads, -1, size)  # (B, K, G, D)
    held = [(keys, values, lengths, lengths - 1)]
    for part in zip(prefix_keys, prefix_values, prefix_lengths, prefix_places, strict=True):
        shared_keys, shared_values, seen, places = part
        held.append((shared_keys.unsqueeze(0), shared_values.unsqueeze(0), seen, places))
    scores = torch.cat([_scores(grouped, part, scale, window, soft_cap) for part in held], -1)
    log_sum = scores.logsumexp(-1, keepdim=True)
    if sinks is not None:
        log_sum = torch.logaddexp(log_sum, _widen(sinks).view(1, kv_heads, -1, 1))
    weights = (scores - log_sum.clamp_min(torch.finfo(torch.float32).min)).exp()  # a row that sees nothing gets zeros
    out = torch.zeros_like(grouped)
    shares = torch.split(weights, [part[0].shape[2] for part in held], -1)
    for share, (_, part_values, seen, _) in zip(shares, held, strict=True):
        # What lies behind a row's length was never written, and 0 times NaN would be NaN.
        slots = torch.arange(part_values.shape[2], device=q.device)
        written = (slots < seen.view(-1, 1)).any(0) if len(part_values) == 1 else slots < seen.view(-1, 1)
        out += share @ _widen(part_values).masked_fill(~written.view(len(part_values), 1, -1, 1), 0.0)
    return out.reshape(q.shape).to(q.dtype), log_sum.reshape(batch, heads)


def _scores(
    grouped: Tensor,
    part: tuple[Tensor, Tensor, Tensor, Tensor],
    scale: float,
    window: int | None,
    soft_cap: float | None,
) -> Tensor:
    keys, _, lengths, places = part
    scores = (grouped * scale) @ _widen(keys).transpose(-1, -2)  # (B, K, G, S)
    if soft_cap is not None:
        scores = soft_cap * torch.tanh(scores / soft_cap)
    slots = torch.arange(keys.shape[2], device=keys.device)
    visible = slots < lengths.unsqueeze(1)
    if window is not None:
        visible &= places.unsqueeze(1) - slots < window
    return scores.masked_fill(~visible.view(len(visible), 1, 1, -1), -torch.inf)


def _widen(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
