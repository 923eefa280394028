"""The gradients of LayerNorm and RMSNorm; the derivative stands in :mod:`gptapps.kernels.reference_norms`.

Symbols: N rows, C channels, P programs. Each program sums the weights' gradient over its rows, and the P sums are added
in a fixed order afterwards, so the same inputs give the same bits.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from gptapps.kernels.gpu.launching import cdiv, multiprocessors, next_power_of_2, on_device
from gptapps.kernels.gpu.norms import Rows, warps

_LONGEST_TILE = 8192
_COLUMNS = 64
_PIECE_ROWS = 32


def norm_backward(
    grad: Tensor,
    grad_summed: Tensor | None,
    x: Tensor,
    weight: Tensor,
    statistics: Tensor,
    centred: bool,
    biased: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of what was normalized, of the weight and of the bias.

    Args:
        grad: (..., C) of the output.
        grad_summed: (..., C) of the sum that was normalized, where others read it too; added to the first gradient.
        x: (..., C) what was normalized.
        weight: (C,).
        statistics: of the forward pass.
        centred: as there.
        biased: whether there is a bias; without one its gradient is empty.
    """
    channels = x.shape[-1]
    rows = Rows.of(x)
    grad_x = x.new_empty(x.shape)
    if not x.numel():
        return grad_x, weight.new_zeros(weight.shape), weight.new_zeros(channels if biased else 0)
    # What a thread holds of a row and of the sums has to fit its registers.
    fused = channels <= (_LONGEST_TILE // 2 if biased else _LONGEST_TILE)
    block = min(next_power_of_2(channels), _LONGEST_TILE)
    tile_rows = max(1024 // block, 1)
    tiles = cdiv(rows.count, tile_rows)
    threads = warps(tile_rows * block)
    programs = min(tiles, multiprocessors(x.device) * max(16 // threads, 1)) if fused else tiles
    tiles_each = cdiv(tiles, programs)
    pieces = cdiv(tiles, tiles_each) if fused else min(cdiv(rows.count, _PIECE_ROWS), 64)
    sums = x.new_empty((2 if biased else 1, pieces, channels), dtype=statistics.dtype)
    grad = grad.contiguous()
    place = (rows.count, rows.inner, rows.outer_stride, rows.inner_stride)
    with on_device(x):
        _norm_backward[(pieces if fused else tiles,)](
            grad,
            grad if grad_summed is None else grad_summed.contiguous(),
            rows.tensor,
            weight.contiguous(),
            statistics,
            grad_x,
            sums,
            *place,
            tiles_each,
            CHANNELS=channels,
            BLOCK=block,
            ROWS=tile_rows,
            CENTRED=centred,
            BIASED=biased,
            HAS_GRAD_SUMMED=grad_summed is not None,
            FUSED=fused,
            num_warps=threads,
        )
        if not fused:
            _weight_gradient[(cdiv(channels, _COLUMNS), pieces)](
                grad,
                rows.tensor,
                statistics,
                sums,
                *place,
                cdiv(cdiv(rows.count, _PIECE_ROWS), pieces),
                CHANNELS=channels,
                COLUMNS=_COLUMNS,
                ROWS=_PIECE_ROWS,
                CENTRED=centred,
                BIASED=biased,
                num_warps=4,
            )
    grad_weight = sums[0].sum(0).to(weight.dtype)
    return grad_x, grad_weight, sums[1].sum(0).to(weight.dtype) if biased else weight.new_empty(0)


@triton.jit(do_not_specialize=["rows", "inner", "tiles_each"])
def _norm_backward(  # type: ignore[no-untyped-def]
    grad,  # (N, C)
    grad_summed,  # (N, C)
    x,  # (N, C) by strides
    weight,  # (C,)
    statistics,  # (2, N)
    grad_x,  # (N, C)
    sums,  # (2, P, C): of the weight's gradient, of the bias's
    rows,
    inner,
    outer_stride,
    inner_stride,
    tiles_each,
    CHANNELS: tl.constexpr,
    BLOCK: tl.constexpr,
    ROWS: tl.constexpr,
    CENTRED: tl.constexpr,
    BIASED: tl.constexpr,
    HAS_GRAD_SUMMED: tl.constexpr,
    FUSED: tl.constexpr,
):
    program = tl.program_id(0)
    whole = tl.arange(0, BLOCK)[None, :]
    weight_sum = tl.zeros((ROWS, BLOCK), tl.float32)
    bias_sum = tl.zeros((ROWS, BLOCK), tl.float32)
    for tile in range(tiles_each):
        first = (tl.cast(program, tl.int64) * tiles_each + tile) * ROWS
        row = first + tl.arange(0, ROWS)
        live = (row < rows)[:, None]
        at = ((row // inner) * outer_stride + (row % inner) * inner_stride)[:, None]
        flat = (row * CHANNELS)[:, None]
        scale = tl.load(statistics + row, mask=row < rows, other=0.0)[:, None]
        mean = tl.zeros((ROWS, 1), tl.float32)
        if CENTRED:
            mean = tl.load(statistics + rows + row, mask=row < rows, other=0.0)[:, None]
        along = tl.zeros((ROWS,), tl.float32)  # the gradient along the normalized row
        total = tl.zeros((ROWS,), tl.float32)
        for start in tl.static_range(0, CHANNELS, BLOCK):
            column = start + whole
            inside = live & (column < CHANNELS)
            slope = tl.load(grad + flat + column, mask=inside, other=0.0).to(tl.float32)  # (ROWS, BLOCK)
            normed = (tl.load(x + at + column, mask=inside, other=0.0).to(tl.float32) - mean) * scale
            weighted = slope * tl.load(weight + column, mask=column < CHANNELS, other=0.0).to(tl.float32)
            along += tl.sum(weighted * normed, 1)
            if CENTRED:
                total += tl.sum(weighted, 1)
        if FUSED:
            weight_sum += slope * normed
            if BIASED:
                bias_sum += slope
        along = along[:, None] / CHANNELS
        total = total[:, None] / CHANNELS
        for start in tl.range(0, CHANNELS, BLOCK):
            column = start + whole
            inside = live & (column < CHANNELS)
            if CHANNELS > BLOCK:
                slope = tl.load(grad + flat + column, mask=inside, other=0.0).to(tl.float32)
                normed = (tl.load(x + at + column, mask=inside, other=0.0).to(tl.float32) - mean) * scale
                weighted = slope * tl.load(weight + column, mask=column < CHANNELS, other=0.0).to(tl.float32)
            moved = (weighted - normed * along - total) * scale
            if HAS_GRAD_SUMMED:
                moved += tl.load(grad_summed + flat + column, mask=inside, other=0.0).to(tl.float32)
            tl.store(grad_x + flat + column, moved.to(grad_x.dtype.element_ty), mask=inside)
    if FUSED:
        column = tl.arange(0, BLOCK)
        into = sums + program * CHANNELS + column
        tl.store(into, tl.sum(weight_sum, 0), mask=column < CHANNELS)
        if BIASED:
            behind = tl.num_programs(0) * CHANNELS
            tl.store(into + behind, tl.sum(bias_sum, 0), mask=column < CHANNELS)


@triton.jit(do_not_specialize=["rows", "inner", "tiles_each"])
def _weight_gradient(  # type: ignore[no-untyped-def]
    grad,  # (N, C)
    x,  # (N, C) by strides
    statistics,  # (2, N)
    sums,  # (2, P, C)
    rows,
    inner,
    outer_stride,
    inner_stride,
    tiles_each,
    CHANNELS: tl.constexpr,
    COLUMNS: tl.constexpr,
    ROWS: tl.constexpr,
    CENTRED: tl.constexpr,
    BIASED: tl.constexpr,
):
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    piece = tl.program_id(1)
    weight_sum = tl.zeros((ROWS, COLUMNS), tl.float32)
    bias_sum = tl.zeros((ROWS, COLUMNS), tl.float32)
    for tile in range(tiles_each):
        row = (tl.cast(piece, tl.int64) * tiles_each + tile) * ROWS + tl.arange(0, ROWS)
        inside = (row < rows)[:, None] & (column < CHANNELS)[None, :]
        at = ((row // inner) * outer_stride + (row % inner) * inner_stride)[:, None] + column[None, :]
        slope = tl.load(grad + (row * CHANNELS)[:, None] + column[None, :], mask=inside, other=0.0).to(tl.float32)
        scale = tl.load(statistics + row, mask=row < rows, other=0.0)[:, None]
        values = tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
        if CENTRED:
            values -= tl.load(statistics + rows + row, mask=row < rows, other=0.0)[:, None]
        weight_sum += slope * values * scale
        if BIASED:
            bias_sum += slope
    into = sums + piece * CHANNELS + column
    tl.store(into, tl.sum(weight_sum, 0), mask=column < CHANNELS)
    if BIASED:
        tl.store(into + tl.num_programs(1) * CHANNELS, tl.sum(bias_sum, 0), mask=column < CHANNELS)
