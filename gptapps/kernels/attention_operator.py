"""Attention as an operation that PyTorch knows: it can be compiled, and it has derivatives.

Symbols: B rows, T query tokens, S key tokens, H heads, K key/value heads, D head size.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from gptapps.kernels.dispatch import launches, needs_operator
from gptapps.kernels.reference_attention import masked_attention, masked_attention_backward
from gptapps.kernels.visibility import Visibility


class _Settings(NamedTuple):
    """Everything but queries, keys and values, in the order in which the registered operations take it."""

    mask: Tensor | None
    key_lengths: Tensor | None
    prefix_lengths: Tensor | None
    offsets: Tensor | None
    query_bounds: Tensor | None
    key_bounds: Tensor | None
    sinks: Tensor | None
    causal: bool
    window: int | None
    longest: int
    longest_keys: int
    scale: float
    soft_cap: float | None

    @property
    def visible(self) -> Visibility:
        return Visibility(
            self.causal,
            self.window,
            self.mask,
            self.key_lengths,
            self.prefix_lengths,
            self.offsets,
            self.query_bounds,
            self.key_bounds,
            self.longest,
            self.longest_keys,
        )


_SETTINGS = (
    "Tensor? mask, Tensor? key_lengths, Tensor? prefix_lengths, Tensor? offsets, Tensor? query_bounds,"
    " Tensor? key_bounds, Tensor? sinks, bool causal, int? window, SymInt longest, SymInt longest_keys, float scale,"
    " float? soft_cap"
)


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    visible: Visibility,
    sinks: Tensor | None,
    scale: float,
    soft_cap: float | None,
    *,
    wide: bool,
) -> tuple[Tensor, Tensor]:
    """Return output (B, H, T, D) and log-sum-exp (B, H, T) float32, as the kernels work them out.

    Args:
        q: (B, H, T, D).
        k, v: (B, K, S, D).
        visible, sinks, scale, soft_cap: see :func:`gptapps.kernels.attention.attention`.
        wide: give the output in float32 instead of the dtype of ``q``.
    """
    q, k, v = _autocast(q, k, v)
    settings = _Settings(
        visible.mask,
        visible.key_lengths,
        visible.prefix_lengths,
        visible.offsets,
        visible.query_bounds,
        visible.key_bounds,
        sinks,
        visible.causal,
        visible.window,
        visible.longest,
        visible.most_keys or 0,
        scale,
        soft_cap,
    )
    operator = _attention if needs_operator(q, k, v, *settings[:7]) else _compute
    out, log_sum = operator(q, k, v, wide, *settings)
    return out, log_sum


def _autocast(*tensors: Tensor) -> tuple[Tensor, ...]:
    # As PyTorch does with its own attention; queries and keys come back wide from their rotation.
    kind = tensors[0].device.type
    if not torch.is_autocast_enabled(kind):
        return tensors
    dtype = torch.get_autocast_dtype(kind)
    return tuple(x.to(dtype) if x.dtype != torch.float64 else x for x in tensors)


def _compute(q: Tensor, k: Tensor, v: Tensor, wide: bool, *rest: Any) -> tuple[Tensor, Tensor]:
    settings = _Settings(*rest)
    visible, sinks, scale, cap = settings.visible, settings.sinks, settings.scale, settings.soft_cap
    if launches(q):
        from gptapps.kernels.gpu.attention_forward import attention_forward

        return attention_forward(q, k, v, visible, sinks, scale=scale, soft_cap=cap, wide=wide)
    out, log_sum = masked_attention(q, k, v, visible, sinks, scale=scale, soft_cap=cap)
    return _tokens_first(q, out.dtype if wide else q.dtype).copy_(out), log_sum


_attention = torch.library.custom_op(
    "gptapps::attention",
    _compute,
    mutates_args=(),
    schema=f"(Tensor q, Tensor k, Tensor v, bool wide, {_SETTINGS}) -> (Tensor, Tensor)",
)


@_attention.register_fake
def _shapes(q: Tensor, k: Tensor, v: Tensor, wide: bool, *rest: Any) -> tuple[Tensor, Tensor]:
    dtype = torch.promote_types(q.dtype, torch.float32)
    return _tokens_first(q, dtype if wide else q.dtype), q.new_empty(q.shape[:3], dtype=dtype)


def _compute_backward(
    grad: Tensor,
    grad_log_sum: Tensor | None,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    log_sum: Tensor,
    *rest: Any,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    settings = _Settings(*rest)
    visible, scale, cap = settings.visible, settings.scale, settings.soft_cap
    if launches(q):
        from gptapps.kernels.gpu.attention_backward import attention_backward

        return attention_backward(grad, grad_log_sum, q, k, v, out, log_sum, visible, scale=scale, soft_cap=cap)
    *grads, delta = masked_attention_backward(
        grad, grad_log_sum, q, k, v, visible, settings.sinks, scale=scale, soft_cap=cap
    )
    grad_q, grad_k, grad_v = (_tokens_first(x, x.dtype).copy_(x) for x in grads)
    return grad_q, grad_k, grad_v, delta


_attention_backward = torch.library.custom_op(
    "gptapps::attention_backward",
    _compute_backward,
    mutates_args=(),
    schema="(Tensor grad, Tensor? grad_log_sum, Tensor q, Tensor k, Tensor v, Tensor out, Tensor log_sum,"
    f" {_SETTINGS}) -> (Tensor, Tensor, Tensor, Tensor)",
)


@_attention_backward.register_fake
def _backward_shapes(
    grad: Tensor, grad_log_sum: Tensor | None, q: Tensor, k: Tensor, v: Tensor, *rest: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    dtype = torch.promote_types(q.dtype, torch.float32)
    grad_q, grad_k, grad_v = (_tokens_first(x, x.dtype) for x in (q, k, v))
    return grad_q, grad_k, grad_v, q.new_empty(q.shape[:3], dtype=dtype)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    q, k, v, _, *rest = inputs
    ctx.save_for_backward(q, k, v, *output, *rest[:7])
    ctx.set_materialize_grads(False)
    ctx.numbers = rest[7:]


def _differentiate(ctx: Any, grad: Tensor | None, grad_log_sum: Tensor | None) -> tuple[Tensor | None, ...]:
    q, k, v, out, log_sum, *tensors = ctx.saved_tensors
    settings = _Settings(*tensors, *ctx.numbers)
    grad = torch.zeros_like(q) if grad is None else grad.to(q.dtype)
    *grads, delta = _attention_backward(grad, grad_log_sum, q, k, v, out, log_sum, *settings)
    grad_sinks = None
    if settings.sinks is not None:
        sinks = settings.sinks.to(log_sum.dtype)
        weights = (sinks.view(1, -1, 1) - log_sum).exp()
        grad_sinks = -(weights * delta).sum((0, 2)).to(settings.sinks.dtype)
    return (*grads, None, *(None,) * 6, grad_sinks, *(None,) * 6)


_attention.register_autograd(_differentiate, setup_context=_keep)


def _tokens_first(x: Tensor, dtype: torch.dtype) -> Tensor:
    batch, heads, tokens, size = x.shape
    return x.new_empty((batch, tokens, heads, size), dtype=dtype).transpose(1, 2)
