"""Decode attention: the keys are split among programs, each of which reads its share once; then the shares are merged.

What is long in decoding is the cache, and a row has one query only, so rows and heads alone would leave most of the GPU
idle. Every part of the keys (the cache, each shared prefix) is cut into as many splits as fill it, and the cut falls
anew at every length: the grid follows from shapes, the work of a program from the lengths on the device. The query
heads that share a key head are the rows of one matrix product; of a shared prefix, those of the whole batch are.

Symbols: B batch, S slots, P keys of a prefix, H heads, K key/value heads, G = H / K, D head size, N parts times splits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from gptapps.kernels.gpu.decode_merge import merge_parts
from gptapps.kernels.gpu.launching import architecture, cdiv, multiprocessors, next_power_of_2, on_device, operand

_LEAST_ROWS = 16  # of a matrix product of tensor cores
_MOST_SPLITS = 64
_MOST_KEYS = 2048  # of a split: texts of different lengths would keep each other waiting
_PROGRAMS_EACH = 3  # that a multiprocessor has shared memory for, enough to keep its share of the memory busy


@triton.jit(  # numbers grow and small tensors begin anywhere; compiling anew would be a stall
    do_not_specialize=["batches", "slots", "window"],
    do_not_specialize_on_alignment=["lengths", "places", "sinks", "log_sums"],
)
def _read_part(  # type: ignore[no-untyped-def]
    q,  # (B, H, D)
    keys,  # (B, K, S, D), or (K, S, D) where all rows share them
    values,
    lengths,  # (B,)
    places,  # (B,)
    sinks,  # (H,)
    out,  # (splits, B, H, D)
    log_sums,  # (splits, B, H)
    q_batch,
    q_head,
    q_channel,
    k_batch,
    k_head,
    k_slot,
    k_channel,
    v_batch,
    v_head,
    v_slot,
    v_channel,
    batches,
    slots,
    window,
    scale,
    soft_cap,
    GROUP: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
    SIZE: tl.constexpr,
    PADDED: tl.constexpr,
    SHARED: tl.constexpr,
    WINDOWED: tl.constexpr,
    CAPPED: tl.constexpr,
    SUNK: tl.constexpr,
    DIRECT: tl.constexpr,
):
    LOG2_E: tl.constexpr = 1.4426950408889634
    LN_2: tl.constexpr = 0.6931471805599453
    split, splits = tl.program_id(0), tl.num_programs(0)
    kv_head = tl.program_id(1)
    if SHARED:
        row = tl.program_id(2) * ROWS + tl.arange(0, ROWS)
        batch, member = row // GROUP, row % GROUP
        valid = batch < batches
    else:
        blocks_of_group: tl.constexpr = (GROUP + ROWS - 1) // ROWS
        owner = tl.program_id(2) // blocks_of_group
        member = tl.program_id(2) % blocks_of_group * ROWS + tl.arange(0, ROWS)
        batch, valid = tl.full((ROWS,), 0, tl.int32) + owner, member < GROUP
        keys += owner.to(tl.int64) * k_batch
        values += owner.to(tl.int64) * v_batch
    keys += kv_head.to(tl.int64) * k_head
    values += kv_head.to(tl.int64) * v_head
    head = kv_head * GROUP + member
    channel = tl.arange(0, PADDED)
    wide_channel = channel.to(tl.int64)

    seen = tl.minimum(tl.load(lengths + batch, mask=valid, other=0).to(tl.int32), slots)
    end = tl.max(seen, 0)
    begin = 0
    if WINDOWED:
        place = tl.load(places + batch, mask=valid, other=0).to(tl.int32) if SHARED else seen - 1
        first = tl.maximum(place + 1 - window, 0)
        begin = tl.min(tl.where(seen > first, first, end), 0) // BLOCK * BLOCK
    share = tl.cdiv(tl.cdiv(end - begin, BLOCK), splits) * BLOCK
    begin += split * share
    end = tl.minimum(end, begin + share)

    q_offset = (
        batch.to(tl.int64)[:, None] * q_batch + head.to(tl.int64)[:, None] * q_head + wide_channel[None, :] * q_channel
    )
    inside = valid[:, None] & (channel < SIZE)[None, :]
    query = operand(tl.load(q + q_offset, mask=inside, other=0.0))  # (ROWS, D)
    best = tl.full((ROWS,), float("-inf"), tl.float32)
    total = tl.zeros((ROWS,), tl.float32)
    if SUNK and split == 0:
        best = tl.load(sinks + head, mask=valid, other=0.0).to(tl.float32) * LOG2_E
        total += 1.0
    gathered = tl.zeros((ROWS, PADDED), tl.float32)
    for start in range(begin, end, BLOCK):
        slot = start + tl.arange(0, BLOCK)
        wide = slot.to(tl.int64)
        there = slot < end
        key = tl.load(
            keys + wide[None, :] * k_slot + wide_channel[:, None] * k_channel,
            mask=there[None, :] & (channel < SIZE)[:, None],
            other=0.0,
        )  # (D, BLOCK)
        scores = tl.dot(query, operand(key), input_precision="ieee") * scale  # (ROWS, BLOCK)
        if CAPPED:
            grown = tl.exp2(scores * (2 * LOG2_E / soft_cap))
            scores = soft_cap - 2 * soft_cap / (grown + 1)  # cap tanh(score / cap)
        visible = slot[None, :] < tl.minimum(seen, end)[:, None]
        if WINDOWED:
            visible &= slot[None, :] >= first[:, None]
        scores = tl.where(visible, scores * LOG2_E, float("-inf"))
        better = tl.maximum(best, tl.max(scores, 1))
        pivot = tl.where(better == float("-inf"), 0.0, better)  # -inf - -inf would be NaN
        weights = tl.exp2(scores - pivot[:, None])
        fade = tl.exp2(best - pivot)
        value = tl.load(
            values + wide[:, None] * v_slot + wide_channel[None, :] * v_channel,
            mask=there[:, None] & (channel < SIZE)[None, :],
            other=0.0,
        )  # (BLOCK, D)
        gathered = gathered * fade[:, None] + tl.dot(
            operand(weights.to(value.dtype)), operand(value), input_precision="ieee"
        )
        total = total * fade + tl.sum(weights, 1)
        best = better

    some = total > 0
    total = tl.where(some, total, 1.0)
    result = gathered / total[:, None]
    log_sum = (best + tl.log2(total)) * LN_2
    place_out = (split.to(tl.int64) * batches + batch) * (tl.num_programs(1) * GROUP) + head
    tl.store(log_sums + place_out, log_sum, mask=valid)
    if not DIRECT:  # the merge passes over what saw nothing
        inside &= some[:, None]
    tl.store(out + place_out[:, None] * SIZE + channel[None, :], result.to(out.dtype.element_ty), mask=inside)


@dataclass(frozen=True, slots=True)
class _Part:
    """Keys to read, in a grid of splits, key heads and blocks of rows."""

    keys: Tensor
    values: Tensor
    lengths: Tensor
    places: Tensor
    shared: bool
    rows: int
    grid: tuple[int, int, int]


def decode_attention(
    q: Tensor,
    keys: Tensor,
    values: Tensor,
    lengths: Tensor,
    prefix_keys: Sequence[Tensor],
    prefix_values: Sequence[Tensor],
    prefix_lengths: Sequence[Tensor],
    prefix_places: Sequence[Tensor],
    sinks: Tensor | None,
    scale: float,
    window: int | None,
    soft_cap: float | None,
) -> tuple[Tensor, Tensor]:
    """Launch :func:`gptapps.kernels.decode_attention`, its prefixes spread over four lists."""
    batch, heads, _ = q.shape
    out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    log_sums = torch.empty((batch, heads), dtype=torch.float32, device=q.device)
    if not out.numel():
        return out, log_sums
    block = _block(q)
    sinks = None if sinks is None else sinks.contiguous()
    parts = [_part(q, keys, values, lengths, lengths, block, window, shared=False)]
    for part_keys, part_values, part_lengths, places in zip(
        prefix_keys, prefix_values, prefix_lengths, prefix_places, strict=True
    ):
        parts.append(_part(q, part_keys, part_values, part_lengths, places, block, window, shared=True))
    count = sum(part.grid[0] for part in parts)
    part_out, part_log_sums = out.unsqueeze(0), log_sums.unsqueeze(0)
    if count > 1:
        part_out = torch.empty((count, *q.shape), dtype=torch.float32, device=q.device)
        part_log_sums = torch.empty((count, batch, heads), dtype=torch.float32, device=q.device)
    with on_device(q):
        start = 0
        for part in parts:
            splits = slice(start, start + part.grid[0])
            sink = None if part.shared else sinks
            _read(q, part, part_out[splits], part_log_sums[splits], sink, scale, window, soft_cap, block, count == 1)
            start = splits.stop
        if count > 1:
            merge_parts(part_out, part_log_sums, out, log_sums)
    return out, log_sums


def _read(
    q: Tensor,
    part: _Part,
    out: Tensor,
    log_sums: Tensor,
    sinks: Tensor | None,
    scale: float,
    window: int | None,
    soft_cap: float | None,
    block: int,
    direct: bool,
) -> None:
    size = q.shape[2]
    batch_strides = (0, 0) if part.shared else (part.keys.stride(0), part.values.stride(0))
    _read_part[part.grid](
        q,
        part.keys,
        part.values,
        part.lengths,
        part.places,
        part.lengths if sinks is None else sinks,
        out,
        log_sums,
        *q.stride(),
        batch_strides[0],
        *part.keys.stride()[-3:],
        batch_strides[1],
        *part.values.stride()[-3:],
        q.shape[0],
        part.keys.shape[-2],
        window or 0,
        scale,
        soft_cap or 1.0,
        GROUP=q.shape[1] // part.grid[1],
        ROWS=part.rows,
        BLOCK=block,
        SIZE=size,
        PADDED=max(next_power_of_2(size), 16),
        SHARED=part.shared,
        WINDOWED=window is not None,
        CAPPED=soft_cap is not None,
        SUNK=sinks is not None,
        DIRECT=direct,
        num_warps=4,
        num_stages=3 if architecture(q.device) >= 90 else 2,
    )


def _part(
    q: Tensor,
    keys: Tensor,
    values: Tensor,
    lengths: Tensor,
    places: Tensor,
    block: int,
    window: int | None,
    *,
    shared: bool,
) -> _Part:
    kv_heads, slots = keys.shape[-3], keys.shape[-2]
    group = q.shape[1] // kv_heads
    together = q.shape[0] * group if shared else group
    rows = min(max(next_power_of_2(together), _LEAST_ROWS), _most_rows(q))
    row_blocks = cdiv(together, rows) * (1 if shared else q.shape[0])
    seen = slots if window is None else min(slots, window + block)
    room = _PROGRAMS_EACH * multiprocessors(q.device) // (kv_heads * row_blocks)  # for all of them at once
    splits = max(min(max(room, cdiv(seen, _MOST_KEYS)), cdiv(seen, block), _MOST_SPLITS), 1)
    grid = (splits, kv_heads, row_blocks)
    return _Part(keys, values, lengths.contiguous(), places.contiguous(), shared, rows, grid)


def _most_rows(q: Tensor) -> int:
    """Return how many queries are read for at once, at most: more would not fit the registers."""
    if q.dtype == torch.float32:
        return 32 if q.shape[2] <= 64 else _LEAST_ROWS
    return 64 if q.shape[2] <= 128 else 32


def _block(q: Tensor) -> int:
    """Return how many keys are read at once."""
    size = next_power_of_2(q.shape[2])
    if q.dtype == torch.float32:
        return 32 if size <= 64 else 16  # full precision takes no tensor cores, and more would not fit the registers
    return {256: 32, 128: 64}.get(size, 128)
