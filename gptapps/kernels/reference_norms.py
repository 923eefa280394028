"""LayerNorm and RMSNorm with what their derivatives need, in plain PyTorch.

Symbols: C channels, N rows.
"""

from __future__ import annotations

import torch
from torch import Tensor


def norm(x: Tensor, weight: Tensor, bias: Tensor | None, epsilon: float, centred: bool) -> tuple[Tensor, Tensor]:
    """Normalize the last axis; return the result and each row's statistics.

    Args:
        x: (..., C).
        weight: (C,).
        bias: (C,) or None.
        epsilon: added to the variance or mean square.
        centred: whether the mean is taken off (LayerNorm) or not (RMSNorm).

    Returns:
        (..., C) and (2, N) where centred, (1, N) where not: one over the deviation, then the mean.
    """
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    mean = wide.mean(-1, keepdim=True) if centred else None
    moved = wide if mean is None else wide - mean
    scale = torch.rsqrt(moved.square().mean(-1, keepdim=True) + epsilon)
    normed = moved * scale
    if not centred:
        normed = normed.to(x.dtype)  # as Llama's own code rounds
    rows = [scale] if mean is None else [scale, mean]
    statistics = torch.stack([row.flatten() for row in rows])
    out = normed * weight if bias is None else normed * weight + bias
    return out.to(torch.promote_types(x.dtype, weight.dtype)), statistics


def norm_backward(
    grad: Tensor, x: Tensor, weight: Tensor, statistics: Tensor, centred: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of ``x``, ``weight`` and bias.

    With n the normalized row, s one over its deviation and w the weight: ``d x = s (g w - n mean(g w n) - mean(g w))``,
    the last term only where centred; ``d w`` is the sum of ``g n`` over the rows, ``d b`` that of ``g``.

    Args:
        grad: (..., C), g.
        x: (..., C).
        weight: (C,).
        statistics: of :func:`norm`.
        centred: as there.
    """
    wide, slope = (tensor.to(statistics.dtype) for tensor in (x, grad))
    rows = (*x.shape[:-1], 1)
    scale = statistics[0].view(rows)
    normed = (wide - statistics[1].view(rows) if centred else wide) * scale
    weighted = slope * weight
    moved = weighted - normed * (weighted * normed).mean(-1, keepdim=True)
    if centred:
        moved = moved - weighted.mean(-1, keepdim=True)
    over = tuple(range(x.dim() - 1))
    grad_weight, grad_bias = (slope * normed).sum(over), slope.sum(over)
    return (moved * scale).to(x.dtype), grad_weight.to(weight.dtype), grad_bias.to(weight.dtype)
