"""Rotary positions on the queries and keys of all heads.

Symbols: B batch, T tokens, D head size, R rotated channels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gptapps.kernels import reference
from gptapps.kernels.dispatch import Impl, launches, needs_operator, uses_triton


def rotary(x: Tensor, cos: Tensor, sin: Tensor, *, interleaved: bool, impl: Impl | None = None) -> Tensor:
    """Rotate pairs of channels by an angle that grows with the position.

    Args:
        x: (B, T, heads, D).
        cos: (B, T, 1, R), R <= D; channels past R pass unchanged. The kernels give it no gradient.
        sin: (B, T, 1, R), negative where the pair's first channel stands. The kernels give it no gradient.
        interleaved: pairs are (0, 1), (2, 3), … instead of (0, R/2), (1, R/2 + 1), …
        impl: see :mod:`gptapps.kernels.dispatch`.

    Returns:
        (B, T, heads, D).

    Source: Su et al. 2021, equation 34.
    """
    if not uses_triton(impl, x, cos, sin):
        return reference.rotary(x, cos, sin, interleaved=interleaved)
    operator = _rotate if needs_operator(x, cos, sin) else _compute
    return operator(x, cos, sin, interleaved, False)


def _compute(x: Tensor, cos: Tensor, sin: Tensor, interleaved: bool, transposed: bool) -> Tensor:
    if launches(x):
        from gptapps.kernels.gpu.rotary import rotate

        return rotate(x, cos, sin, interleaved, transposed)
    if transposed:  # the sines stand at the other channel of the pair, and with the sign they have there
        size = cos.shape[-1]
        pairs = (
            sin.reshape(*sin.shape[:-1], size // 2, 2).flip(-1).flatten(-2) if interleaved else sin.roll(size // 2, -1)
        )
        return reference.rotary(x, cos, pairs, interleaved=interleaved)
    return reference.rotary(x, cos, sin, interleaved=interleaved)


_rotate = torch.library.custom_op(
    "gptapps::rotary",
    _compute,
    mutates_args=(),
    schema="(Tensor x, Tensor cos, Tensor sin, bool interleaved, bool transposed) -> Tensor",
)


@_rotate.register_fake
def _rotate_shape(x: Tensor, cos: Tensor, sin: Tensor, interleaved: bool, transposed: bool) -> Tensor:
    return x.new_empty(x.shape, dtype=torch.promote_types(x.dtype, cos.dtype))


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, cos, sin, ctx.interleaved, ctx.transposed = inputs
    ctx.dtype = x.dtype
    ctx.save_for_backward(cos, sin)


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    cos, sin = ctx.saved_tensors
    return _rotate(grad, cos, sin, ctx.interleaved, not ctx.transposed).to(ctx.dtype), None, None, None, None


_rotate.register_autograd(_differentiate, setup_context=_keep)
