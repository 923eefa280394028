"""Activations of single numbers, and of gates that multiply a second half: SwiGLU, GEGLU.

Symbols: N rows, F numbers in a row of the output.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from gptapps.kernels.gpu.launching import cdiv, on_device

_BLOCKS = (1024, 512, 256)


def activate(x: Tensor, name: str, gated: bool) -> Tensor:
    """Return ``activation(x)`` (..., F), or ``activation(gate) * up`` (..., F) for ``x`` (..., 2F), gate first."""
    columns, block, grid = _layout(x, gated)
    out = x.new_empty((*x.shape[:-1], columns) if gated else x.shape)
    if not out.numel():
        return out
    with on_device(x):
        _activate[grid](x.contiguous(), out, columns, NAME=name, GATED=gated, BLOCK=block, num_warps=block // 256)
    return out


def activate_backward(grad: Tensor, x: Tensor, name: str, gated: bool) -> Tensor:
    """Return the gradient of ``x`` for that of the output, ``grad`` (..., F)."""
    columns, block, grid = _layout(x, gated)
    grad_x = x.new_empty(x.shape)
    if not x.numel():
        return grad_x
    with on_device(x):
        _activate_backward[grid](
            grad.contiguous(),
            x.contiguous(),
            grad_x,
            columns,
            NAME=name,
            GATED=gated,
            BLOCK=block,
            num_warps=block // 256,
        )
    return grad_x


def _layout(x: Tensor, gated: bool) -> tuple[int, int, tuple[int]]:
    # Without a gate all numbers are one row; with one, the block is taken that leaves the fewest threads idle.
    columns = x.shape[-1] // 2 if gated else x.numel()
    block = min(_BLOCKS, key=lambda block: cdiv(columns, block) * block) if gated else _BLOCKS[0]
    rows = x.numel() // max(x.shape[-1], 1) if gated else 1
    return columns, block, (rows * cdiv(columns, block),)


@triton.jit
def _activate(  # type: ignore[no-untyped-def]
    x,  # (N, F), or (N, 2F) with gates
    out,  # (N, F)
    columns,
    NAME: tl.constexpr,
    GATED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row, column, inside = _place(columns, BLOCK)
    if GATED:
        at = x + row * columns * 2 + column
        value = _activation(tl.load(at, mask=inside, other=0.0).to(tl.float32), NAME)
        value *= tl.load(at + columns, mask=inside, other=0.0).to(tl.float32)
    else:
        value = _activation(tl.load(x + row * columns + column, mask=inside, other=0.0).to(tl.float32), NAME)
    tl.store(out + row * columns + column, value.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _activate_backward(  # type: ignore[no-untyped-def]
    grad,  # (N, F)
    x,  # (N, F), or (N, 2F) with gates
    grad_x,  # as x
    columns,
    NAME: tl.constexpr,
    GATED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row, column, inside = _place(columns, BLOCK)
    slope = tl.load(grad + row * columns + column, mask=inside, other=0.0).to(tl.float32)
    at = row * columns * (2 if GATED else 1) + column
    value = tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
    if GATED:
        up = tl.load(x + at + columns, mask=inside, other=0.0).to(tl.float32)
        grad_up = slope * _activation(value, NAME)
        tl.store(grad_x + at + columns, grad_up.to(grad_x.dtype.element_ty), mask=inside)
        slope *= up
    slope *= _derivative(value, NAME)
    tl.store(grad_x + at, slope.to(grad_x.dtype.element_ty), mask=inside)


@triton.jit
def _place(columns, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    program = tl.program_id(0).to(tl.int64)
    blocks = tl.cdiv(columns, BLOCK)
    column = (program % blocks) * BLOCK + tl.arange(0, BLOCK)
    return program // blocks, column, column < columns


@triton.jit
def _activation(x, NAME: tl.constexpr):  # type: ignore[no-untyped-def]
    if NAME == "gelu":
        out = 0.5 * x * (1.0 + tl.math.erf(x * 0.7071067811865476))
    elif NAME == "gelu_tanh":
        # 1/2 (1 + tanh z) is sigmoid(2z).
        out = x * tl.sigmoid(1.5957691216057308 * (x + 0.044715 * x * x * x))
    elif NAME == "silu":
        out = x * tl.sigmoid(x)
    else:
        tl.static_assert(NAME == "relu")
        out = tl.where(x < 0.0, 0.0, x)
    return out


@triton.jit
def _derivative(x, NAME: tl.constexpr):  # type: ignore[no-untyped-def]
    if NAME == "gelu":
        out = 0.5 * (1.0 + tl.math.erf(x * 0.7071067811865476)) + x * 0.3989422804014327 * tl.exp(-0.5 * x * x)
    elif NAME == "gelu_tanh":
        share = tl.sigmoid(1.5957691216057308 * (x + 0.044715 * x * x * x))
        out = share + x * share * (1.0 - share) * 1.5957691216057308 * (1.0 + 0.134145 * x * x)
    elif NAME == "silu":
        share = tl.sigmoid(x)
        out = share * (1.0 + x * (1.0 - share))
    else:
        tl.static_assert(NAME == "relu")
        out = tl.where(x > 0.0, 1.0, 0.0)
    return out
