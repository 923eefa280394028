"""The activations of feed-forward layers.

Symbols: F numbers in a row of the output.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from gptapps.kernels import reference
from gptapps.kernels.dispatch import Impl, launches, needs_operator, uses_triton

_NAMES = ("gelu", "gelu_tanh", "silu", "relu")


def plain_activation(x: Tensor, name: str, *, impl: Impl | None = None) -> Tensor:
    """Apply ``gelu`` (erf), ``gelu_tanh``, ``silu`` or ``relu`` to each element of ``x``.

    Args:
        x: of any shape.
        name: of the activation.
        impl: see :mod:`gptapps.kernels.dispatch`.

    Source: Hendrycks and Gimpel 2016 (GELU), section 2; Elfwing et al. 2017 (SiLU), equation 2.
    """
    if uses_triton(impl, x):
        return _run(x, name, False)
    return reference.plain_activation(x, name)


def gated_activation(gate_and_up: Tensor, name: str, *, impl: Impl | None = None) -> Tensor:
    """Return ``activation(gate) * up`` (..., F) for ``gate_and_up`` (..., 2F), gate first: SwiGLU, GEGLU.

    Args:
        gate_and_up: (..., 2F).
        name: see :func:`plain_activation`.
        impl: see :mod:`gptapps.kernels.dispatch`.

    Source: Shazeer 2020, equation 6.
    """
    if uses_triton(impl, gate_and_up):
        return _run(gate_and_up, name, True)
    return reference.gated_activation(gate_and_up, name)


def _run(x: Tensor, name: str, gated: bool) -> Tensor:
    if name not in _NAMES:
        raise ValueError(f"There is no activation {name!r}.")
    return (_activate if needs_operator(x) else _compute)(x, name, gated)


def _compute(x: Tensor, name: str, gated: bool) -> Tensor:
    if launches(x):
        from gptapps.kernels.gpu.activations import activate

        return activate(x, name, gated)
    return reference.gated_activation(x, name) if gated else reference.plain_activation(x, name)


_activate = torch.library.custom_op(
    "gptapps::activation", _compute, mutates_args=(), schema="(Tensor x, str name, bool gated) -> Tensor"
)


@_activate.register_fake
def _activated_shape(x: Tensor, name: str, gated: bool) -> Tensor:
    return x.new_empty((*x.shape[:-1], x.shape[-1] // 2) if gated else x.shape)


@torch.library.custom_op(
    "gptapps::activation_backward",
    mutates_args=(),
    schema="(Tensor grad, Tensor x, str name, bool gated) -> Tensor",
)
def _activate_backward(grad: Tensor, x: Tensor, name: str, gated: bool) -> Tensor:
    if launches(x):
        from gptapps.kernels.gpu.activations import activate_backward

        return activate_backward(grad, x, name, gated)
    if not gated:
        return grad * _derivative(x, name)
    gate, up = x.chunk(2, -1)
    return torch.cat((grad * up * _derivative(gate, name), grad * reference.plain_activation(gate, name)), -1)


@_activate_backward.register_fake
def _gradient_shape(grad: Tensor, x: Tensor, name: str, gated: bool) -> Tensor:
    return x.new_empty(x.shape)


def _derivative(x: Tensor, name: str) -> Tensor:
    share = torch.sigmoid(x)
    match name:
        case "gelu":
            density = torch.exp(-x.square() / 2) / math.sqrt(2 * math.pi)
            return (1 + torch.erf(x / math.sqrt(2))) / 2 + x * density
        case "gelu_tanh":
            steep = math.sqrt(8 / math.pi)
            share = torch.sigmoid(steep * (x + 0.044715 * x**3))  # 1/2 (1 + tanh z) is sigmoid(2z)
            return share + x * share * (1 - share) * steep * (1 + 3 * 0.044715 * x.square())
        case "silu":
            return share * (1 + x * (1 - share))
    return (x > 0).to(x.dtype)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, ctx.name, ctx.gated = inputs
    ctx.save_for_backward(x)


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
    (x,) = ctx.saved_tensors
    return _activate_backward(grad, x, ctx.name, ctx.gated), None, None


_activate.register_autograd(_differentiate, setup_context=_keep)
