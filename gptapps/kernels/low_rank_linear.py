"""A frozen matrix with low-rank updates that are learned.

Symbols: N tokens, C inputs, F outputs, R rank, P parts of the matrix.

Source: Hu et al. 2021 (LoRA), section 4.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from gptapps.kernels.reference import linear


def low_rank_linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    down: Tensor,
    ups: Sequence[Tensor],
    starts: Sequence[int],
    scale: float,
    *,
    narrowed: Tensor | None = None,
) -> Tensor:
    """Return ``x @ weight.T + bias``, and for each part ``scale * x @ down.T @ up.T`` on its rows of the output.

    The updates are added into the one output, so nothing of its size is held beside it.

    Args:
        x: (..., C).
        weight: (F, C); it gets no gradient.
        bias: (F,) or None; it gets no gradient.
        down: (P R, C), the parts under each other.
        ups: for each part (its rows, R).
        starts: for each part its first row.
        scale: of the updates.
        narrowed: (..., C) what the updates see in the place of ``x``, such as ``x`` after dropout.

    Returns:
        (..., F).
    """
    seen = x if narrowed is None else narrowed
    out: Tensor = _LowRankLinear.apply(  # type: ignore[no-untyped-call]
        x.reshape(-1, x.shape[-1]),
        None if narrowed is None else seen.reshape(-1, x.shape[-1]),
        weight,
        bias,
        down,
        (tuple(starts), scale),
        *ups,
    )
    return out.view(*x.shape[:-1], -1)


class _LowRankLinear(torch.autograd.Function):
    """With g the gradient of the output, h = x A^T: d B = scale g^T h, d h = scale g B, d A = (d h)^T x."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        narrowed: Tensor | None,
        weight: Tensor,
        bias: Tensor | None,
        down: Tensor,
        settings: tuple[tuple[int, ...], float],
        *ups: Tensor,
    ) -> Tensor:
        starts, scale = settings
        out = linear(x, weight, bias)  # (N, F)
        seen = (x if narrowed is None else narrowed).to(out.dtype)
        low = seen @ down.to(out.dtype).T  # (N, P R)
        for start, up, part in zip(starts, ups, low.chunk(len(ups), 1), strict=True):
            out[:, start : start + len(up)].addmm_(part, up.to(out.dtype).T, alpha=scale)
        ctx.settings, ctx.same = settings, narrowed is None
        ctx.save_for_backward(seen, low, weight, down, *ups)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | tuple[int, ...] | None, ...]:
        seen, low, weight, down, *ups = ctx.saved_tensors
        starts, scale = ctx.settings
        grad_low = torch.empty_like(low)
        grad_ups = []
        for start, up, part, grad_part in zip(
            starts, ups, low.chunk(len(ups), 1), grad_low.chunk(len(ups), 1), strict=True
        ):
            rows = grad[:, start : start + len(up)]
            grad_part.copy_(rows @ up.to(rows.dtype)).mul_(scale)
            grad_ups.append((rows.T @ part).mul_(scale))
        grad_down = grad_low.T @ seen
        grad_x = grad @ weight.to(grad.dtype) if ctx.needs_input_grad[0] else None
        grad_narrowed = None
        if ctx.same and grad_x is not None:
            grad_x.addmm_(grad_low, down.to(grad_x.dtype))
        elif not ctx.same and ctx.needs_input_grad[1]:
            grad_narrowed = grad_low @ down.to(grad_low.dtype)
        return grad_x, grad_narrowed, None, None, grad_down, None, *grad_ups
