"""LayerNorm and RMSNorm, with a residual added in front where there is one.

Symbols: N rows, C channels. A program takes a tile of whole rows; rows too long for a tile are read in pieces, twice.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from gptapps.kernels.gpu.launching import cdiv, next_power_of_2, on_device

_LONGEST_TILE = 8192


@dataclass(frozen=True, slots=True)
class Rows:
    """A tensor (..., C) as N rows that lie ``outer`` apart, and within each ``inner`` of them ``step`` apart."""

    tensor: Tensor
    count: int
    inner: int
    outer_stride: int
    inner_stride: int

    @staticmethod
    def of(x: Tensor) -> Rows:
        """Read ``x`` where it lies, if two strides can say where its rows are, else a copy."""
        count = x.numel() // max(x.shape[-1], 1)
        if not x.is_contiguous() and x.stride(-1) == 1 and x.dim() > 1:
            flat = x.unsqueeze(0) if x.dim() == 2 else x
            heads = flat.shape[-2]
            tokens = _one_stride(flat)
            if tokens is not None:
                return Rows(x, count, max(heads, 1), tokens, flat.stride(-2))
        return Rows(x.contiguous(), count, max(count, 1), 0, x.shape[-1])


def norm_forward(
    x: Tensor, residual: Tensor | None, weight: Tensor, bias: Tensor | None, epsilon: float, centred: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalize ``x``, or ``x + residual``.

    Args:
        x: (..., C).
        residual: (..., C) or None.
        weight: (C,).
        bias: (C,) or None.
        epsilon: added to the variance or mean square.
        centred: whether the mean is taken off (LayerNorm) or not (RMSNorm).

    Returns:
        The normalized rows (..., C), the sum (..., C) or an empty tensor without a residual, and statistics as
        :func:`gptapps.kernels.reference_norms.norm` gives them, float32.
    """
    channels = x.shape[-1]
    rows = Rows.of(x)
    dtype = x.dtype if residual is None else torch.promote_types(x.dtype, residual.dtype)
    summed = x.new_empty(0 if residual is None else x.shape, dtype=dtype)
    out = x.new_empty(x.shape, dtype=torch.promote_types(dtype, weight.dtype))
    statistics = x.new_empty((2 if centred else 1, rows.count), dtype=torch.float32)
    if not x.numel():
        return out, summed, statistics
    block = min(next_power_of_2(channels), _LONGEST_TILE)
    tile_rows = max(1024 // block, 1)
    with on_device(x):
        _norm_forward[(cdiv(rows.count, tile_rows),)](
            rows.tensor,
            rows.tensor if residual is None else residual.contiguous(),
            weight.contiguous(),
            weight if bias is None else bias.contiguous(),
            out,
            rows.tensor if residual is None else summed,
            statistics,
            rows.count,
            rows.inner,
            rows.outer_stride,
            rows.inner_stride,
            epsilon,
            CHANNELS=channels,
            BLOCK=block,
            ROWS=tile_rows,
            CENTRED=centred,
            HAS_RESIDUAL=residual is not None,
            HAS_BIAS=bias is not None,
            num_warps=warps(tile_rows * block),
        )
    return out, summed, statistics


def warps(elements: int) -> int:
    """Return how many warps work on a tile of ``elements`` numbers: some sixteen a thread."""
    return min(max(elements // 512, 1), 16)


def _one_stride(x: Tensor) -> int | None:
    # The step from one leading index to the next, where a single step serves all leading axes.
    step = None
    expected = None
    for size, stride in zip(reversed(x.shape[:-2]), reversed(x.stride()[:-2]), strict=True):
        if size == 1:
            continue
        if step is None:
            step = stride
        elif stride != expected:
            return None
        expected = stride * size
    return step or 0


@triton.jit(do_not_specialize=["rows", "inner"])
def _norm_forward(  # type: ignore[no-untyped-def]
    x,  # (N, C) by strides
    residual,  # (N, C)
    weight,  # (C,)
    bias,  # (C,)
    out,  # (N, C)
    summed,  # (N, C)
    statistics,  # (2, N): one over the deviation, mean
    rows,
    inner,
    outer_stride,
    inner_stride,
    epsilon,
    CHANNELS: tl.constexpr,
    BLOCK: tl.constexpr,
    ROWS: tl.constexpr,
    CENTRED: tl.constexpr,
    HAS_RESIDUAL: tl.constexpr,
    HAS_BIAS: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)  # (ROWS,)
    live = (row < rows)[:, None]
    at = ((row // inner) * outer_stride + (row % inner) * inner_stride)[:, None]
    flat = (row * CHANNELS)[:, None]
    mean = tl.zeros((ROWS,), tl.float32)
    squares = tl.zeros((ROWS,), tl.float32)  # of the differences from the mean, summed
    for start in tl.static_range(0, CHANNELS, BLOCK):
        column = (start + tl.arange(0, BLOCK))[None, :]
        inside = live & (column < CHANNELS)
        values = _values(x + at + column, residual + flat + column, summed, inside, HAS_RESIDUAL)  # (ROWS, BLOCK)
        if HAS_RESIDUAL:
            tl.store(summed + flat + column, values.to(summed.dtype.element_ty), mask=inside)
        if CENTRED:
            # Pieces are joined as Chan, Golub and LeVeque 1979 do: squares never lose what the mean takes off.
            here = min(CHANNELS - start, BLOCK)
            piece_mean = tl.sum(values, 1) / here
            moved = tl.where(column < CHANNELS, values - piece_mean[:, None], 0.0)
            step = piece_mean - mean
            squares += tl.sum(moved * moved, 1) + step * step * (start * here / (start + here))
            mean += step * (here / (start + here))
        else:
            squares += tl.sum(values * values, 1)
    scale = 1.0 / tl.sqrt(squares / CHANNELS + epsilon)
    tl.store(statistics + row, scale, mask=row < rows)
    if CENTRED:
        tl.store(statistics + rows + row, mean, mask=row < rows)
    for start in tl.static_range(0, CHANNELS, BLOCK):
        column = (start + tl.arange(0, BLOCK))[None, :]
        inside = live & (column < CHANNELS)
        if CHANNELS > BLOCK:
            values = _values(x + at + column, residual + flat + column, summed, inside, HAS_RESIDUAL)
        normed = (values - mean[:, None]) * scale[:, None]
        if not CENTRED:
            normed = normed.to(summed.dtype.element_ty).to(tl.float32)  # as Llama's own code rounds
        scaled = normed * tl.load(weight + column, mask=column < CHANNELS, other=0.0).to(tl.float32)
        if HAS_BIAS:
            scaled += tl.load(bias + column, mask=column < CHANNELS, other=0.0).to(tl.float32)
        tl.store(out + flat + column, scaled.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _values(x, residual, summed, inside, HAS_RESIDUAL: tl.constexpr):  # type: ignore[no-untyped-def]
    values = tl.load(x, mask=inside, other=0.0).to(tl.float32)
    if HAS_RESIDUAL:
        values += tl.load(residual, mask=inside, other=0.0).to(tl.float32)
        values = values.to(summed.dtype.element_ty).to(tl.float32)  # the norm sees what later layers see
    return values
