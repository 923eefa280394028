"""The rotation of pairs of channels and its transpose, which is its derivative.

Symbols: B batch, T tokens, H heads, D head size, R rotated channels. A program turns the heads of one token.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from gptapps.kernels.gpu.launching import cdiv, next_power_of_2, on_device

_PAIRS_AT_ONCE = 2048


def rotate(x: Tensor, cos: Tensor, sin: Tensor, interleaved: bool, transposed: bool) -> Tensor:
    """Rotate the pairs of ``x``, or apply the rotation's transpose.

    Args:
        x: (B, T, H, D) by strides.
        cos: (B or 1, T or 1, 1, R).
        sin: (B or 1, T or 1, 1, R), negative where the pair's first channel stands.
        interleaved: pairs are (0, 1), (2, 3), … instead of (0, R/2), (1, R/2 + 1), …
        transposed: turn back instead.

    Returns:
        (B, T, H, D), contiguous.
    """
    batch, tokens, heads, size = x.shape
    rotated = cos.shape[-1]
    out = x.new_empty(x.shape, dtype=torch.promote_types(x.dtype, cos.dtype))
    if not x.numel():
        return out
    x, cos, sin = (tensor if tensor.stride(-1) == 1 else tensor.contiguous() for tensor in (x, cos, sin))
    cos, sin = (table.expand(batch, tokens, 1, rotated) for table in (cos, sin))
    pairs = next_power_of_2(rotated // 2)
    at_once = min(next_power_of_2(heads), max(_PAIRS_AT_ONCE // pairs, 1))
    with on_device(x):
        _rotate[(batch * tokens, cdiv(heads, at_once))](
            x,
            cos,
            sin,
            out,
            tokens,
            *x.stride()[:3],
            *cos.stride()[:2],
            *sin.stride()[:2],
            HEADS=heads,
            SIZE=size,
            ROTATED=rotated,
            HEADS_AT_ONCE=at_once,
            PAIRS=pairs,
            REST=next_power_of_2(max(size - rotated, 1)),
            INTERLEAVED=interleaved,
            TRANSPOSED=transposed,
            num_warps=min(max(at_once * pairs // 256, 1), 4),
        )
    return out


@triton.jit(do_not_specialize=["tokens"])
def _rotate(  # type: ignore[no-untyped-def]
    x,  # (B, T, H, D) by strides
    cos,  # (B, T, R) by strides
    sin,  # (B, T, R) by strides
    out,  # (B, T, H, D)
    tokens,
    x_batch,
    x_token,
    x_head,
    cos_batch,
    cos_token,
    sin_batch,
    sin_token,
    HEADS: tl.constexpr,
    SIZE: tl.constexpr,
    ROTATED: tl.constexpr,
    HEADS_AT_ONCE: tl.constexpr,
    PAIRS: tl.constexpr,
    REST: tl.constexpr,
    INTERLEAVED: tl.constexpr,
    TRANSPOSED: tl.constexpr,
):
    place = tl.program_id(0).to(tl.int64)
    batch, token = place // tokens, place % tokens
    head = tl.program_id(1) * HEADS_AT_ONCE + tl.arange(0, HEADS_AT_ONCE)[:, None]
    source = x + batch * x_batch + token * x_token + head.to(tl.int64) * x_head  # (heads, 1)
    target = out + (place * HEADS + head) * SIZE
    cos += batch * cos_batch + token * cos_token
    sin += batch * sin_batch + token * sin_token
    if INTERLEAVED:
        both = tl.arange(0, 2 * PAIRS)[None, :]
        channels = both < ROTATED
        inside = (head < HEADS) & channels
        first, second = _pairs(source + both, inside, HEADS_AT_ONCE, PAIRS)
        first_cos, second_cos = _pairs(cos + both, channels, 1, PAIRS)
        first_sin, second_sin = _pairs(sin + both, channels, 1, PAIRS)
    else:
        pair = tl.arange(0, PAIRS)[None, :]
        channels = pair < ROTATED // 2
        inside = (head < HEADS) & channels
        half: tl.constexpr = ROTATED // 2
        first = tl.load(source + pair, mask=inside, other=0.0).to(tl.float32)  # (heads, pairs)
        second = tl.load(source + half + pair, mask=inside, other=0.0).to(tl.float32)
        first_cos = tl.load(cos + pair, mask=channels, other=0.0).to(tl.float32)
        second_cos = tl.load(cos + half + pair, mask=channels, other=0.0).to(tl.float32)
        first_sin = tl.load(sin + pair, mask=channels, other=0.0).to(tl.float32)
        second_sin = tl.load(sin + half + pair, mask=channels, other=0.0).to(tl.float32)
    if TRANSPOSED:
        first_out = first * first_cos + second * second_sin
        second_out = second * second_cos + first * first_sin
    else:
        first_out = first * first_cos + second * first_sin
        second_out = second * second_cos + first * second_sin
    first_out = first_out.to(out.dtype.element_ty)
    second_out = second_out.to(out.dtype.element_ty)
    if INTERLEAVED:
        joined = tl.reshape(tl.join(first_out, second_out), (HEADS_AT_ONCE, 2 * PAIRS))
        tl.store(target + both, joined, mask=inside)
    else:
        tl.store(target + pair, first_out, mask=inside)
        tl.store(target + half + pair, second_out, mask=inside)
    if ROTATED < SIZE:
        rest = ROTATED + tl.arange(0, REST)[None, :]
        inside = (head < HEADS) & (rest < SIZE)
        tl.store(target + rest, tl.load(source + rest, mask=inside).to(out.dtype.element_ty), mask=inside)


@triton.jit
def _pairs(at, inside, ROWS: tl.constexpr, PAIRS: tl.constexpr):  # type: ignore[no-untyped-def]
    values = tl.load(at, mask=inside, other=0.0).to(tl.float32)
    return tl.split(tl.reshape(values, (ROWS, PAIRS, 2)))
