"""What the attention kernels share: where a row starts, which tiles need a mask, and the mask of a tile.

Symbols: T query tokens, S key tokens, D head size; a row is a row of the batch or a packed text.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from gptapps.kernels.gpu.launching import INTERPRETED

LOG2_E = tl.constexpr(1.4426950408889634)  # exp2 is an instruction, exp is not
LN_2 = tl.constexpr(0.6931471805599453)


@triton.jit
def row_bounds(row, T, S, QueryBounds, KeyBounds, KeyLengths, PrefixLengths, Offsets):  # type: ignore[no-untyped-def]
    """Return a row's first query, queries, first key, keys, prefix, and place of its first query among its keys."""
    if QueryBounds is None:
        first_query = 0
        queries = T
        first_key = 0
        keys = S
    else:
        first_query = tl.load(QueryBounds + row)
        queries = tl.load(QueryBounds + row + 1) - first_query
        first_key = tl.load(KeyBounds + row)
        keys = tl.load(KeyBounds + row + 1) - first_key
    offset = keys - queries if Offsets is None else tl.load(Offsets + row).to(tl.int32)
    if KeyLengths is not None:
        keys = tl.minimum(keys, tl.load(KeyLengths + row).to(tl.int32))
    prefix = 0 if PrefixLengths is None else tl.minimum(tl.load(PrefixLengths + row).to(tl.int32), keys)
    return first_query, queries, first_key, keys, prefix, offset


@triton.jit
def start_of(pointer, row, head, first, stride_row, stride_head, stride_token, PACKED: tl.constexpr):  # type: ignore[no-untyped-def]
    """Return the pointer to a row's first token; offsets between rows and heads can pass 2**31."""
    pointer += tl.cast(head, tl.int64) * stride_head
    if PACKED:
        return pointer + tl.cast(first, tl.int64) * stride_token
    return pointer + tl.cast(row, tl.int64) * stride_row


@triton.jit
def load_tokens(  # type: ignore[no-untyped-def]
    pointer, start, tokens, stride, D: tl.constexpr, BLOCK: tl.constexpr, BLOCK_D: tl.constexpr, CHECKED: tl.constexpr
):
    """Return a tile (BLOCK, BLOCK_D) of tokens ``start`` on, with zeros past ``tokens`` and past D."""
    rows = tl.arange(0, BLOCK)
    channels = tl.arange(0, BLOCK_D)
    within = rows < tokens - start
    places = pointer + tl.cast(start, tl.int64) * stride + (rows.to(tl.int64)[:, None] * stride + channels[None, :])
    if CHECKED:
        if D == BLOCK_D:
            return tl.load(places, mask=within[:, None], other=0.0)
        return tl.load(places, mask=within[:, None] & (channels < D)[None, :], other=0.0)
    if D == BLOCK_D:
        return tl.load(places)
    return tl.load(places, mask=(channels < D)[None, :], other=0.0)


@triton.jit
def store_tokens(pointer, values, start, tokens, stride, D: tl.constexpr, BLOCK: tl.constexpr, BLOCK_D: tl.constexpr):  # type: ignore[no-untyped-def]
    """Write a tile (BLOCK, BLOCK_D) to tokens ``start`` on, what lies past ``tokens`` and past D left out."""
    rows = start + tl.arange(0, BLOCK)
    channels = tl.arange(0, BLOCK_D)
    places = pointer + rows.to(tl.int64)[:, None] * stride + channels[None, :]
    tl.store(places, values.to(pointer.dtype.element_ty), mask=(rows < tokens)[:, None] & (channels < D)[None, :])


@triton.jit
def multiply(a, b, added=None):  # type: ignore[no-untyped-def]
    """Return ``a @ b + added`` in float32; of float32 tiles as three products of TF32, which err as float32 does."""
    if INTERPRETED:
        return tl.dot(a.to(tl.float32), b.to(tl.float32), added, input_precision="ieee")
    return tl.dot(a, b, added, input_precision="tf32x3")


@triton.jit
def key_range(  # type: ignore[no-untyped-def]
    start,
    end,
    keys,
    prefix,
    offset,
    window,
    CAUSAL: tl.constexpr,
    WINDOW: tl.constexpr,
    PREFIX: tl.constexpr,
    MASK: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Return begin, full begin, full end and end of the keys that queries ``start`` to ``end`` see.

    Between the two in the middle every query sees every key, and no mask is needed. All but the end are multiples of
    BLOCK.
    """
    low = start + offset
    high = end - 1 + offset
    begin = 0
    full_begin = 0
    last = keys
    full_end = keys
    if CAUSAL:
        last = tl.minimum(keys, tl.maximum(high + 1, prefix))
        full_end = tl.minimum(keys, low + 1)
        if PREFIX and not WINDOW:
            full_end = tl.minimum(keys, tl.maximum(low + 1, prefix))
    elif WINDOW:
        last = tl.minimum(keys, tl.maximum(high + window, prefix))
        full_end = tl.minimum(keys, low + window)
    if WINDOW:
        full_begin = (tl.maximum(high - window + 1, 0) + BLOCK - 1) // BLOCK * BLOCK
        if not PREFIX:
            begin = tl.minimum(tl.maximum(low - window + 1, 0), full_begin) // BLOCK * BLOCK
    last = tl.maximum(last, 0)
    full_end = tl.maximum(full_end, 0) // BLOCK * BLOCK
    if MASK:
        full_end = begin
    full_begin = tl.minimum(full_begin, (last + BLOCK - 1) // BLOCK * BLOCK)
    full_begin = tl.maximum(full_begin, begin)
    full_end = tl.maximum(full_end, full_begin)
    return begin, full_begin, full_end, last


@triton.jit
def query_range(  # type: ignore[no-untyped-def]
    start,
    end,
    queries,
    prefix,
    offset,
    window,
    CAUSAL: tl.constexpr,
    WINDOW: tl.constexpr,
    PREFIX: tl.constexpr,
    MASK: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Return begin, full begin, full end and end of the queries that see keys ``start`` to ``end``.

    Between the two in the middle every query sees every key. All but the end are multiples of BLOCK, and so is the full
    end only where there is a window.
    """
    begin = 0
    full_begin = 0
    last = queries
    full_end = queries
    if CAUSAL:
        begin = start - offset
        full_begin = end - 1 - offset
    elif WINDOW:
        begin = start - window + 1 - offset
        full_begin = end - window - offset
    if WINDOW:
        last = tl.minimum(queries, end - 1 + window - offset)
        full_end = tl.minimum(queries, start + window - offset)
    if PREFIX:
        if start < prefix:
            begin = 0
            last = queries
        if end <= prefix:
            full_begin = 0
            full_end = queries
    if end <= start:
        last = 0
    begin = tl.maximum(begin, 0) // BLOCK * BLOCK
    full_begin = (tl.maximum(full_begin, 0) + BLOCK - 1) // BLOCK * BLOCK
    last = tl.maximum(last, 0)
    if MASK:
        full_begin = (last + BLOCK - 1) // BLOCK * BLOCK
        full_end = full_begin
    if WINDOW:
        full_begin = tl.minimum(full_begin, (last + BLOCK - 1) // BLOCK * BLOCK)
        full_end = tl.maximum(tl.maximum(full_end, 0) // BLOCK * BLOCK, full_begin)
    full_begin = tl.maximum(full_begin, begin)
    full_end = tl.maximum(tl.minimum(full_end, last), full_begin)
    return begin, full_begin, full_end, last


@triton.jit
def is_visible(places, others, keys, prefix, window, CAUSAL: tl.constexpr, WINDOW: tl.constexpr, PREFIX: tl.constexpr):  # type: ignore[no-untyped-def]
    """Return which ``others`` the queries at ``places`` see; the two broadcast against each other."""
    seen = others < keys
    if CAUSAL or WINDOW:
        near = others <= places if CAUSAL else others - places < window
        if WINDOW:
            near = near & (places - others < window)
        if PREFIX:
            near = near | (others < prefix)
        seen = seen & near
    return seen


@triton.jit
def squash(scores, cap):  # type: ignore[no-untyped-def]
    """Return ``tanh(scores / cap)``."""
    return 1.0 - 2.0 / (tl.exp2(scores * (2.0 * LOG2_E / cap)) + 1.0)


def bytes_of(mask: Tensor | None) -> tuple[Tensor | None, tuple[int, int, int]]:
    """Return a mask (B or 1, H or 1, T, S) as bytes, and its strides over rows, heads and queries."""
    if mask is None:
        return None, (0, 0, 0)
    dense = mask if mask.stride(-1) == 1 or mask.shape[-1] == 1 else mask.contiguous()
    strides = [0 if size == 1 else stride for size, stride in zip(dense.shape, dense.stride(), strict=True)]
    return dense.view(torch.uint8), (strides[0], strides[1], strides[2])


def channels_last(x: Tensor) -> Tensor:
    """Return ``x`` with neighbouring channels side by side, copied only where they aren't."""
    return x if x.stride(-1) == 1 or x.shape[-1] == 1 else x.contiguous()


def contiguous(*vectors: Tensor | None) -> tuple[Tensor | None, ...]:
    """Return the vectors with neighbouring numbers side by side, copied only where they aren't."""
    return tuple(None if x is None else x.contiguous() for x in vectors)
