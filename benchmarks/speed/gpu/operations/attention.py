"""Attention of many queries: every kind of mask, grouped queries, all sizes of heads, forward and backward."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.speed.gpu.card import Draw
from benchmarks.speed.gpu.operations.attention_parts import packed_setting, partial_setting
from benchmarks.speed.gpu.operations.masks import (
    CAUSAL,
    EVERYTHING,
    PADDED,
    PREFIX,
    RANDOM,
    Mask,
    band,
    packed,
    window,
)
from benchmarks.speed.gpu.peers import flex, plain, sdpa
from benchmarks.speed.gpu.roofline import Cost
from benchmarks.speed.gpu.work import Case, Inputs, Operation, Pass, Peer, Setting
from gptapps import kernels

Shape = tuple[int, int, int, int, int, int]
"""B, H, K, T, S, D."""
_MASKS = (CAUSAL, window(20), band(9), EVERYTHING, PREFIX, PADDED, RANDOM)
_CHECKED: tuple[Shape, ...] = ((2, 4, 2, 130, 130, 64), (1, 4, 4, 257, 300, 128))
_HEAD_SIZES = (16, 32, 80, 96, 256)
_TEXTS = (70, 1, 129, 33)
_SHORT_TEXTS = (6, 9)
_DRY: Shape = (1, 2, 1, 17, 20, 16)
_BACKWARD = 2.5
"""Operations of the backward pass for one of the forward pass, the scores being worked out again."""


def _inputs(draw: Draw, shape: Shape, mask: Mask, *, sinks: bool) -> Inputs:
    batch, heads, kv_heads, tokens, keys, size = shape
    q = draw.normal(batch, tokens, heads, size).transpose(1, 2)  # as a projection leaves it
    k, v = (draw.normal(batch, keys, kv_heads, size).transpose(1, 2) for _ in range(2))
    return q, k, v, *((draw.normal(heads),) if sinks else ()), *mask.extras(draw, batch, tokens, keys)


def _ours(q: Tensor, k: Tensor, v: Tensor, *rest: Tensor, mask: Mask, cap: float | None, sinks: bool) -> Tensor:
    return kernels.attention(
        q,
        k,
        v,
        scale=q.shape[-1] ** -0.5,
        visible=mask.visible(*rest[sinks:]),
        sinks=rest[0] if sinks else None,
        soft_cap=cap,
    )


def _plain(q: Tensor, k: Tensor, v: Tensor, *rest: Tensor, mask: Mask, cap: float | None, sinks: bool) -> Tensor:
    batch, heads, tokens, size = q.shape
    k, v = (tensor.repeat_interleave(heads // tensor.shape[1], 1) for tensor in (k, v))
    scores = q @ k.transpose(-1, -2) * size**-0.5
    if cap is not None:
        scores = cap * torch.tanh(scores / cap)
    seen = mask.dense(rest[sinks:], batch, tokens, k.shape[2], q.device)
    scores = scores.masked_fill(~seen, torch.finfo(scores.dtype).min)
    beside = rest[0].view(1, -1, 1, 1).expand(batch, -1, tokens, 1) if sinks else scores[..., :0]
    weights = torch.cat((scores, beside), -1).softmax(-1)[..., : k.shape[2]]
    return weights.masked_fill(~seen, 0.0) @ v


def _setting(shape: Shape, mask: Mask, *, cap: float | None = None, sinks: bool = False) -> Setting:
    batch, heads, kv_heads, tokens, keys, size = shape
    told = (
        f"B {batch}, H {heads}/{kv_heads}, T {tokens}{f' of {keys}' if keys != tokens else ''}, D {size}, {mask.name}"
    )
    return Setting(
        name=f"{told}{', sinks' if sinks else ''}{f', soft cap {cap:g}' if cap else ''}",
        make=partial(_inputs, shape=shape, mask=mask, sinks=sinks),
        ours=partial(_ours, mask=mask, cap=cap, sinks=sinks),
        plain=partial(_plain, mask=mask, cap=cap, sinks=sinks),
        learned=(0, 1, 2, 3) if sinks else (0, 1, 2),
        slack=2.0,
    )


def _settings(dry_run: bool) -> list[Setting]:
    if dry_run:
        texts = (1, 2, 1, sum(_SHORT_TEXTS), sum(_SHORT_TEXTS), 16)
        return [
            _setting(_DRY, CAUSAL),
            _setting(_DRY, window(5), cap=3.0, sinks=True),
            _setting(_DRY, RANDOM),
            _setting(texts, packed(_SHORT_TEXTS)),
            packed_setting((2, 5), 3, 16, 4),
            partial_setting(2, 3, 18, 16),
        ]
    texts = (1, 4, 2, sum(_TEXTS), sum(_TEXTS), 64)
    return [
        *(_setting(shape, mask) for shape in _CHECKED for mask in _MASKS),
        *(_setting((1, 2, 1, 70, 70, size), CAUSAL) for size in _HEAD_SIZES),
        _setting(_CHECKED[0], CAUSAL, sinks=True),
        _setting(_CHECKED[0], window(20), cap=15.0, sinks=True),
        _setting(_CHECKED[1], EVERYTHING, cap=15.0),
        _setting(texts, packed(_TEXTS)),
        packed_setting(_TEXTS, 100, 64, None),
        packed_setting(_TEXTS, 100, 128, 40),
        partial_setting(3, 5, 300, 64),
        _setting((2, 2, 2, 0, 8, 64), EVERYTHING),
        _setting((1, 8, 2, 2050, 2050, 128), CAUSAL),
    ]


def _timed(dry_run: bool) -> list[tuple[Shape, Mask, float, bool]]:
    """Return shapes, masks, the pairs of query and key that are seen, as a part of all, and whether targets look."""
    if dry_run:
        tokens = sum(_SHORT_TEXTS)
        return [
            ((1, 2, 1, 16, 16, 16), CAUSAL, 0.5, True),
            ((1, 2, 1, tokens, tokens, 16), packed(_SHORT_TEXTS), _part(_SHORT_TEXTS), False),
        ]
    texts = (4096, 2048, 2048, *(1024,) * 4, *(512,) * 5, *(256,) * 6)
    whole = sum(texts)
    return [
        ((2, 16, 16, 8192, 8192, 128), CAUSAL, 0.5, True),
        ((4, 16, 16, 4096, 4096, 128), CAUSAL, 0.5, True),
        ((1, 16, 16, 16384, 16384, 128), CAUSAL, 0.5, True),
        ((2, 32, 8, 4096, 4096, 128), CAUSAL, 0.5, False),
        ((1, 32, 8, whole, whole, 128), packed(texts), _part(texts), False),
        ((2, 32, 32, 8192, 8192, 64), CAUSAL, 0.5, False),
        ((2, 16, 16, 8192, 8192, 128), window(1024), 1024 * (8192 - 512) / 8192**2, False),
        ((4, 16, 16, 4096, 4096, 128), EVERYTHING, 1.0, False),
        ((16, 16, 16, 1024, 1024, 128), CAUSAL, 0.5, False),
        ((8, 9, 3, 2048, 2048, 64), CAUSAL, 0.5, False),
        ((4, 16, 16, 4096, 4096, 80), CAUSAL, 0.5, False),
    ]


def _part(texts: tuple[int, ...]) -> float:
    return float(sum(length**2 for length in texts) / 2 / sum(texts) ** 2)


def _cases(dry_run: bool) -> list[Case]:
    return [
        Case(
            setting=_setting(shape, mask),
            costs=_costs(shape, part, 4 if dry_run else 2),
            peers=_peers(shape, mask),
            counts=counts,
            is_exhaustive=False,
        )
        for shape, mask, part, counts in _timed(dry_run)
    ]


def _costs(shape: Shape, part: float, element: int) -> dict[Pass, Cost]:
    batch, heads, kv_heads, tokens, keys, size = shape
    operations = 4 * batch * heads * tokens * keys * size * part
    wide, narrow = element * batch * heads * tokens * size, element * batch * kv_heads * keys * size
    return {
        Pass.FORWARD: Cost(2 * wide + 2 * narrow, int(operations)),
        Pass.BACKWARD: Cost(4 * wide + 4 * narrow, int(_BACKWARD * operations)),
    }


def _peers(shape: Shape, mask: Mask) -> dict[str, Peer]:
    scale = shape[-1] ** -0.5
    flexible = {"FlexAttention": _flex(scale, mask)}
    if mask in (CAUSAL, EVERYTHING):
        return {**sdpa(scale, causal=mask is CAUSAL), **flexible}
    if mask.name.endswith("packed"):
        return {"SDPA, text by text": lambda inputs: _text_by_text(inputs, scale), **flexible}
    return flexible


def _flex(scale: float, mask: Mask) -> Peer:
    def prepare(inputs: Inputs) -> Callable[..., Tensor]:
        attend = flex(scale, None if mask is EVERYTHING else mask.seen(*inputs[3:]))(inputs[:3])
        return lambda q, k, v, *_: attend(q, k, v)

    return prepare


def _text_by_text(inputs: Inputs, scale: float) -> Callable[..., Tensor]:
    lengths: list[int] = inputs[3].diff().tolist()

    def attend(q: Tensor, k: Tensor, v: Tensor, _: Tensor) -> Tensor:
        texts = zip(*(torch.split(tensor, lengths, 2) for tensor in (q, k, v)), strict=True)
        grouped = q.shape[1] > k.shape[1]
        one = partial(F.scaled_dot_product_attention, is_causal=True, scale=scale, enable_gqa=grouped)
        return torch.cat([one(*text) for text in texts], 2)

    return plain(attend)(inputs)


ATTENTION = Operation(
    "attention", ("attention", "packed_attention", "partial_attention"), settings=_settings, cases=_cases, seconds=10.0
)
