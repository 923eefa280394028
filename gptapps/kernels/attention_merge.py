"""Attention over disjoint sets of keys, merged into attention over their union.

Symbols: B batch, T query tokens, H heads, D head size.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gptapps.kernels import reference
from gptapps.kernels.dispatch import Impl, launches, needs_operator, uses_triton


def merge_attention(
    first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor], *, impl: Impl | None = None
) -> tuple[Tensor, Tensor]:
    """Combine attention over two disjoint sets of keys into attention over their union.

    Args:
        first: output (B, H, T, D) and log-sum-exp (B, H, T, 1) of :func:`partial_attention`.
        second: the same over other keys.
        impl: see :mod:`gptapps.kernels.dispatch`.

    Returns:
        Output and log-sum-exp over both; 0 and -inf where neither saw anything.

    Source: Dao et al. 2022 (FlashAttention), section 3.1.
    """
    if not uses_triton(impl, *first, *second):
        return reference.merge_attention(first, second)
    out, log_sum = (_merge if needs_operator(*first, *second) else _compute)(*first, *second)
    return out, log_sum


def _compute(out_a: Tensor, log_a: Tensor, out_b: Tensor, log_b: Tensor) -> tuple[Tensor, Tensor]:
    if launches(out_a):
        from gptapps.kernels.gpu.attention_merge import merge

        return merge(out_a, log_a, out_b, log_b)
    out, log_sum = reference.merge_attention((out_a, log_a), (out_b, log_b))
    return out.transpose(1, 2).contiguous().transpose(1, 2), log_sum.contiguous()


_merge = torch.library.custom_op(
    "gptapps::merge_attention",
    _compute,
    mutates_args=(),
    schema="(Tensor out_a, Tensor log_a, Tensor out_b, Tensor log_b) -> (Tensor, Tensor)",
)


@_merge.register_fake
def _merged_shapes(out_a: Tensor, log_a: Tensor, out_b: Tensor, log_b: Tensor) -> tuple[Tensor, Tensor]:
    batch, heads, tokens, size = out_a.shape
    wide = torch.promote_types(out_a.dtype, torch.float32)
    return out_a.new_empty((batch, tokens, heads, size), dtype=wide).transpose(1, 2), log_a.new_empty(log_a.shape)


def _keep(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs, *output)


def _differentiate(ctx: Any, grad: Tensor, grad_log: Tensor) -> tuple[Tensor, ...]:
    out_a, log_a, out_b, log_b, out, log_sum = ctx.saved_tensors
    grads: list[Tensor] = []
    for part, part_log_sum in ((out_a, log_a), (out_b, log_b)):
        share = torch.where(log_sum == -torch.inf, 0.0, (part_log_sum - log_sum).exp())  # 0 where neither saw anything
        grads += [grad * share, share * ((grad * (part - out)).sum(-1, keepdim=True) + grad_log)]
    return tuple(grads)


_merge.register_autograd(_differentiate, setup_context=_keep)
