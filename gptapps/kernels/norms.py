"""LayerNorm and RMSNorm, alone or over a residual that is added first.

Symbols: C channels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gptapps.kernels import reference
from gptapps.kernels.dispatch import Impl, launches, needs_operator, uses_triton
from gptapps.kernels.reference_norms import norm, norm_backward


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor | None, epsilon: float, *, impl: Impl | None = None) -> Tensor:
    """Normalize the last axis to mean 0 and variance 1, then scale and shift.

    Args:
        x: (..., C).
        weight: (C,).
        bias: (C,) or None.
        epsilon: added to the variance.
        impl: see :mod:`gptapps.kernels.dispatch`.

    Returns:
        (..., C).

    Source: Ba, Kiros and Hinton 2016, equation 4.
    """
    if uses_triton(impl, x, weight, bias):
        return _run(x, None, weight, bias, epsilon, True)[0]
    return reference.layer_norm(x, weight, bias, epsilon)


def rms_norm(x: Tensor, weight: Tensor, epsilon: float, *, impl: Impl | None = None) -> Tensor:
    """Divide the last axis by its root mean square, computed in float32 or wider, then scale.

    Args:
        x: (..., C).
        weight: (C,).
        epsilon: added to the mean square.
        impl: see :mod:`gptapps.kernels.dispatch`.

    Returns:
        (..., C).

    Source: Zhang and Sennrich 2019, equation 4.
    """
    if uses_triton(impl, x, weight):
        return _run(x, None, weight, None, epsilon, False)[0]
    return reference.rms_norm(x, weight, epsilon)


def add_layer_norm(
    x: Tensor, residual: Tensor, weight: Tensor, bias: Tensor | None, epsilon: float, *, impl: Impl | None = None
) -> tuple[Tensor, Tensor]:
    """Return ``layer_norm(x + residual)`` and the sum, both (..., C), which are read and written once.

    Args:
        x: (..., C).
        residual: (..., C).
        weight, bias, epsilon, impl: see :func:`layer_norm`.
    """
    if uses_triton(impl, x, residual, weight, bias):
        return _run(x, residual, weight, bias, epsilon, True)
    summed = x + residual
    return reference.layer_norm(summed, weight, bias, epsilon), summed


def add_rms_norm(
    x: Tensor, residual: Tensor, weight: Tensor, epsilon: float, *, impl: Impl | None = None
) -> tuple[Tensor, Tensor]:
    """Return ``rms_norm(x + residual)`` and the sum, both (..., C), which are read and written once.

    Args:
        x: (..., C).
        residual: (..., C).
        weight, epsilon, impl: see :func:`rms_norm`.
    """
    if uses_triton(impl, x, residual, weight):
        return _run(x, residual, weight, None, epsilon, False)
    summed = x + residual
    return reference.rms_norm(summed, weight, epsilon), summed


def _run(
    x: Tensor, residual: Tensor | None, weight: Tensor, bias: Tensor | None, epsilon: float, centred: bool
) -> tuple[Tensor, Tensor]:
    operator = _norm if needs_operator(x, residual, weight, bias) else _compute
    out, summed, _ = operator(x, residual, weight, bias, epsilon, centred)
    return out, summed


def _compute(
    x: Tensor, residual: Tensor | None, weight: Tensor, bias: Tensor | None, epsilon: float, centred: bool
) -> tuple[Tensor, Tensor, Tensor]:
    if launches(x):
        from gptapps.kernels.gpu.norms import norm_forward

        return norm_forward(x, residual, weight, bias, epsilon, centred)
    summed = x.new_empty(0) if residual is None else x + residual
    out, statistics = norm(x if residual is None else summed, weight, bias, epsilon, centred)
    return out, summed, statistics


_norm = torch.library.custom_op(
    "gptapps::norm",
    _compute,
    mutates_args=(),
    schema="(Tensor x, Tensor? residual, Tensor weight, Tensor? bias, float epsilon, bool centred)"
    " -> (Tensor, Tensor, Tensor)",
)


@_norm.register_fake
def _norm_shapes(
    x: Tensor, residual: Tensor | None, weight: Tensor, bias: Tensor | None, epsilon: float, centred: bool
) -> tuple[Tensor, Tensor, Tensor]:
    dtype = x.dtype if residual is None else torch.promote_types(x.dtype, residual.dtype)
    statistics = (2 if centred else 1, x.numel() // x.shape[-1])
    return (
        x.new_empty(x.shape, dtype=torch.promote_types(dtype, weight.dtype)),
        x.new_empty(0 if residual is None else x.shape, dtype=dtype),
        x.new_empty(statistics, dtype=torch.promote_types(x.dtype, torch.float32)),
    )


@torch.library.custom_op(
    "gptapps::norm_backward",
    mutates_args=(),
    schema="(Tensor grad, Tensor? grad_summed, Tensor x, Tensor weight, Tensor statistics, bool centred, bool biased)"
    " -> (Tensor, Tensor, Tensor)",
)
def _norm_backward(
    grad: Tensor,
    grad_summed: Tensor | None,
    x: Tensor,
    weight: Tensor,
    statistics: Tensor,
    centred: bool,
    biased: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    if launches(x):
        from gptapps.kernels.gpu import norms_backward as gpu

        return gpu.norm_backward(grad, grad_summed, x, weight, statistics, centred, biased)
    grad_x, grad_weight, grad_bias = norm_backward(grad, x, weight, statistics, centred)
    grad_x = grad_x if grad_summed is None else grad_x + grad_summed
    return grad_x, grad_weight, grad_bias if biased else weight.new_empty(0)


@_norm_backward.register_fake
def _norm_backward_shapes(
    grad: Tensor,
    grad_summed: Tensor | None,
    x: Tensor,
    weight: Tensor,
    statistics: Tensor,
    centred: bool,
    biased: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    return x.new_empty(x.shape), weight.new_empty(weight.shape), weight.new_empty(weight.shape if biased else 0)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    x, residual, weight, bias, _, centred = inputs
    _, summed, statistics = output
    ctx.save_for_backward(x if residual is None else summed, weight, statistics)
    ctx.mark_non_differentiable(statistics)
    ctx.centred, ctx.biased = centred, bias is not None
    ctx.dtypes = x.dtype, None if residual is None else residual.dtype


def _differentiate(ctx: Any, grad: Tensor, grad_summed: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    x, weight, statistics = ctx.saved_tensors
    dtype, residual_dtype = ctx.dtypes
    added = None if residual_dtype is None else grad_summed
    grad_x, grad_weight, grad_bias = _norm_backward(grad, added, x, weight, statistics, ctx.centred, ctx.biased)
    grad_residual = None if residual_dtype is None else grad_x.to(residual_dtype)
    return grad_x.to(dtype), grad_residual, grad_weight, grad_bias if ctx.biased else None, None, None


_norm.register_autograd(_differentiate, setup_context=_keep)
