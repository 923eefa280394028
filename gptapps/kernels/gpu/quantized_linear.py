"""A matrix of small integers times few rows: integers become floats in registers, the sums of groups get their scales.

Symbols: N rows, C channels, F features, Q columns that share a scale, P splits of the channels.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from gptapps.kernels.gpu.launching import architecture, cdiv, multiprocessors, next_power_of_2, on_device, operand

_FEATURES = 32
_MOST_SPLITS = 16
_PROGRAMS_EACH = 4  # a multiprocessor needs several programs in flight to keep its memory busy


@triton.jit(do_not_specialize=["rows"])
def _multiply(  # type: ignore[no-untyped-def]
    x,  # (N, C)
    values,  # (F, C) or (F, C / 2)
    scales,  # (F, groups)
    bias,  # (F,)
    out,  # (P, N, F)
    x_row,
    x_channel,
    rows,
    features,
    channels,
    groups,
    ROWS: tl.constexpr,
    FEATURES: tl.constexpr,
    CHANNELS: tl.constexpr,
    GROUP: tl.constexpr,  # 0: a scale for each feature
    HALVES: tl.constexpr,
    BIASED: tl.constexpr,
):
    row = tl.program_id(2) * ROWS + tl.arange(0, ROWS)
    feature = tl.program_id(0) * FEATURES + tl.arange(0, FEATURES)
    split, splits = tl.program_id(1), tl.num_programs(1)
    share = tl.cdiv(tl.cdiv(channels, CHANNELS), splits) * CHANNELS
    begin = split * share
    end = tl.minimum(begin + share, channels)
    real_row, real_feature = row < rows, feature < features
    x += row.to(tl.int64)[:, None] * x_row
    scales += feature.to(tl.int64) * groups
    total = tl.zeros((ROWS, FEATURES), tl.float32)
    for start in range(begin, end, CHANNELS):
        if HALVES:
            channel = start + tl.arange(0, CHANNELS)
            seen = real_row[:, None] & (channel < end)[None, :]
            given = tl.load(x + channel.to(tl.int64)[None, :] * x_channel, mask=seen, other=0.0)
            even, odd = tl.split(tl.reshape(given, (ROWS, CHANNELS // 2, 2)))  # (N, CHANNELS / 2)
            pair = start // 2 + tl.arange(0, CHANNELS // 2)
            there = pair < end // 2  # not 2 * pair < end, which would have every byte read alone
            packed = tl.load(
                values + feature.to(tl.int64)[None, :] * (channels // 2) + pair[:, None],
                mask=there[:, None] & real_feature[None, :],
                other=0,
            )  # (CHANNELS / 2, F)
            low = ((packed & 15).to(tl.float32) - 8).to(even.dtype)
            high = ((packed >> 4).to(tl.float32) - 8).to(even.dtype)
            part = tl.dot(operand(even), operand(low), input_precision="ieee")
            part += tl.dot(operand(odd), operand(high), input_precision="ieee")
        else:
            channel = start + tl.arange(0, CHANNELS)
            there = channel < end
            seen = real_row[:, None] & there[None, :]
            given = tl.load(x + channel.to(tl.int64)[None, :] * x_channel, mask=seen, other=0.0)
            integers = tl.load(
                values + feature.to(tl.int64)[None, :] * channels + channel[:, None],
                mask=there[:, None] & real_feature[None, :],
                other=0,
            )  # (CHANNELS, F)
            weights = integers.to(tl.float32).to(given.dtype)
            part = tl.dot(operand(given), operand(weights), input_precision="ieee")
        if GROUP:
            part *= tl.load(scales + start // GROUP, mask=real_feature, other=0.0).to(tl.float32)[None, :]
        total += part
    if not GROUP:
        total *= tl.load(scales, mask=real_feature, other=0.0).to(tl.float32)[None, :]
    if BIASED:
        total += tl.load(bias + feature, mask=real_feature, other=0.0).to(tl.float32)[None, :]
    place = (split.to(tl.int64) * rows + row)[:, None] * features + feature[None, :]
    tl.store(out + place, total.to(out.dtype.element_ty), mask=real_row[:, None] & real_feature[None, :])


@triton.jit(do_not_specialize=["splits", "size"])
def _add_splits(  # type: ignore[no-untyped-def]
    parts,  # (P, N, F)
    bias,  # (F,)
    out,  # (N, F)
    splits,
    size,
    features,
    BLOCK: tl.constexpr,
    BIASED: tl.constexpr,
):
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = place < size
    total = tl.zeros((BLOCK,), tl.float32)
    for split in range(splits):
        total += tl.load(parts + tl.cast(split, tl.int64) * size + place, mask=inside, other=0.0)
    if BIASED:
        total += tl.load(bias + place % features, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + place, total.to(out.dtype.element_ty), mask=inside)


def quantized_linear(x: Tensor, values: Tensor, scales: Tensor, bias: Tensor | None, group: int) -> Tensor:
    """Launch :func:`gptapps.kernels.quantized_linear` for ``x`` (N, C), N at most 64."""
    rows, channels = x.shape
    features, values, scales = len(values), values.contiguous(), scales.contiguous()
    bias = None if bias is None else bias.contiguous()
    out = x.new_empty((rows, features))
    if not out.numel():
        return out
    is_wide = x.dtype == torch.float32
    most_channels = 32 if is_wide else 64 if rows > 32 else 128
    channels_at_once = min(most_channels, group if group < channels else 128)
    features_at_once = _FEATURES
    tall = 16 if is_wide else max(16, next_power_of_2(rows))  # full precision takes no tensor cores, and more registers
    programs = cdiv(features, features_at_once)
    splits = min(cdiv(_PROGRAMS_EACH * multiprocessors(x.device), programs), cdiv(channels, 4 * channels_at_once))
    splits = max(min(splits, _MOST_SPLITS), 1)
    parts = x.new_empty((splits, rows, features), dtype=torch.float32) if splits > 1 else out.unsqueeze(0)
    with on_device(x):
        _multiply[(programs, splits, cdiv(rows, tall))](
            x,
            values,
            scales,
            scales if bias is None else bias,
            parts,
            *x.stride(),
            rows,
            features,
            channels,
            scales.shape[1],
            ROWS=tall,
            FEATURES=features_at_once,
            CHANNELS=channels_at_once,
            GROUP=group if group < channels else 0,
            HALVES=values.dtype == torch.uint8,
            BIASED=bias is not None and splits == 1,
            num_warps=4,
            num_stages=4 if architecture(x.device) >= 90 else 3,
        )
        if splits > 1:
            size = rows * features
            block = 256
            _add_splits[(cdiv(size, block),)](
                parts,
                scales if bias is None else bias,
                out,
                splits,
                size,
                features,
                BLOCK=block,
                BIASED=bias is not None,
                num_warps=2,
            )
    return out
