"""Attention of one new token over a cache, and over a prefix that rows share."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.speed.gpu.card import Draw
from benchmarks.speed.gpu.peers import flex, sdpa
from benchmarks.speed.gpu.roofline import Cost
from benchmarks.speed.gpu.work import Case, Inputs, Operation, Pass, Setting
from gptapps import kernels
from gptapps.kernels import SharedPrefix, reference_decode

Shape = tuple[int, int, int, int, int]
"""B, H, K, S, D."""
_CHECKED: tuple[Shape, ...] = (
    (3, 4, 4, 33, 64),
    (2, 8, 2, 1000, 128),
    (1, 9, 3, 2500, 64),
    (5, 4, 1, 130, 80),
    (2, 8, 4, 64, 256),
    (1, 2, 2, 17, 16),
    (2, 32, 8, 8200, 128),
)
_CHECKED_DRY: tuple[Shape, ...] = ((2, 4, 2, 33, 16),)
_OPTIONS: tuple[dict[str, Any], ...] = ({}, {"window": 20}, {"soft_cap": 15.0})
_TIMED: tuple[Shape, ...] = (
    (8, 32, 8, 8192, 128),
    (1, 32, 8, 32768, 128),
    (32, 32, 8, 4096, 128),
    (1, 32, 8, 4096, 128),
    (8, 9, 3, 2048, 64),
)
_COUNTING = 3
"""So many of the timed sizes count for targets: those whose cache is larger than the second-level cache by far."""
_SHARED = ((32, 32, 8, 256, 128), 8192)
"""Rows with a tail of their own each, and a prefix that all of them share."""


def _inputs(draw: Draw, shape: Shape, *, full: bool) -> Inputs:
    batch, heads, kv_heads, slots, size = shape
    lengths = draw.integers(slots + 1, batch, low=1)
    lengths[0] = slots
    if full:
        lengths.fill_(slots)
    cache = (draw.normal(batch, kv_heads, slots, size) for _ in range(2))
    return draw.normal(batch, heads, size), *cache, lengths


def _plain(
    q: Tensor,
    keys: Tensor,
    values: Tensor,
    lengths: Tensor,
    *,
    scale: float,
    window: int | None = None,
    soft_cap: float | None = None,
) -> tuple[Tensor, Tensor]:
    return reference_decode.decode_attention(q, keys, values, lengths, [], [], [], [], None, scale, window, soft_cap)


def _with_sinks(q: Tensor, keys: Tensor, values: Tensor, lengths: Tensor, sinks: Tensor) -> tuple[Tensor, Tensor]:
    return kernels.decode_attention(q, keys, values, lengths, scale=q.shape[-1] ** -0.5, sinks=sinks)


def _plain_with_sinks(q: Tensor, keys: Tensor, values: Tensor, lengths: Tensor, sinks: Tensor) -> tuple[Tensor, Tensor]:
    scale = q.shape[-1] ** -0.5
    return reference_decode.decode_attention(q, keys, values, lengths, [], [], [], [], sinks, scale, None, None)


def _sinks_inputs(draw: Draw, shape: Shape) -> Inputs:
    return *_inputs(draw, shape, full=False), draw.normal(shape[1])


def _shared_inputs(draw: Draw, shape: Shape, prefix: int) -> Inputs:
    batch, _, kv_heads, _, size = shape
    shared = (draw.normal(kv_heads, prefix, size) for _ in range(2))
    q, keys, values, lengths = _inputs(draw, shape, full=True)
    return q, keys, values, lengths, *shared, torch.full((batch,), prefix, device=draw.device)


def _shared(
    q: Tensor, keys: Tensor, values: Tensor, lengths: Tensor, held: Tensor, held_values: Tensor, seen: Tensor
) -> Tensor:
    prefix = SharedPrefix(held, held_values, seen, seen + lengths - 1)
    return kernels.decode_attention(q, keys, values, lengths, scale=q.shape[-1] ** -0.5, prefixes=(prefix,))[0]


def _plain_shared(
    q: Tensor, keys: Tensor, values: Tensor, lengths: Tensor, held: Tensor, held_values: Tensor, seen: Tensor
) -> Tensor:
    scale, places = q.shape[-1] ** -0.5, seen + lengths - 1
    return reference_decode.decode_attention(
        q, keys, values, lengths, [held], [held_values], [seen], [places], None, scale, None, None
    )[0]


def _setting(shape: Shape, options: dict[str, Any], *, full: bool = False) -> Setting:
    scale = shape[-1] ** -0.5
    told = "".join(f", {name} {value:g}" for name, value in options.items())
    ours = partial(kernels.decode_attention, scale=scale, **options)
    return Setting(
        name=f"{_told(shape)}{told}",
        make=partial(_inputs, shape=shape, full=full),
        ours=(lambda *inputs: ours(*inputs)[0]) if full else ours,
        plain=(lambda *inputs: _plain(*inputs, scale=scale)[0]) if full else partial(_plain, scale=scale, **options),
    )


def _shared_setting(shape: Shape, prefix: int) -> Setting:
    return Setting(
        name=f"{_told(shape)}, {prefix} tokens shared",
        make=partial(_shared_inputs, shape=shape, prefix=prefix),
        ours=_shared,
        plain=_plain_shared,
    )


def _told(shape: Shape) -> str:
    batch, heads, kv_heads, slots, size = shape
    return f"B {batch}, H {heads}/{kv_heads}, S {slots}, D {size}"


def _settings(dry_run: bool) -> list[Setting]:
    shapes = _CHECKED_DRY if dry_run else _CHECKED
    sinks = [
        Setting(f"{_told(one)}, sinks", partial(_sinks_inputs, shape=one), _with_sinks, _plain_with_sinks)
        for one in shapes[:2]
    ]
    shared = [_shared_setting(one, prefix) for one in shapes[:3] for prefix in ((21,) if dry_run else (21, 1024))]
    return [*(_setting(shape, options) for shape in shapes for options in _OPTIONS), *sinks, *shared]


def _cases(dry_run: bool) -> list[Case]:
    element = 4 if dry_run else 2
    found = []
    for place, shape in enumerate(_CHECKED_DRY if dry_run else _TIMED):
        batch, heads, kv_heads, slots, size = shape
        found.append(
            Case(
                setting=_setting(shape, {}, full=True),
                costs={Pass.FORWARD: Cost(element * size * batch * (2 * kv_heads * slots + 2 * heads))},
                peers={
                    **sdpa(size**-0.5, causal=False, arrange=_arranged),
                    "FlexAttention": flex(size**-0.5, None, arrange=_arranged),
                },
                counts=place < _COUNTING,
            )
        )
    shape, prefix = ((2, 4, 2, 8, 16), 21) if dry_run else _SHARED
    batch, heads, kv_heads, slots, size = shape
    read = 2 * kv_heads * (batch * slots + prefix) + 2 * batch * heads
    found.append(
        Case(
            setting=_shared_setting(shape, prefix),
            costs={Pass.FORWARD: Cost(element * size * read)},
            peers=sdpa(size**-0.5, causal=False, arrange=_arranged_shared),
        )
    )
    return found


def _arranged(q: Tensor, keys: Tensor, values: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return q.unsqueeze(2), keys, values


def _arranged_shared(
    q: Tensor, keys: Tensor, values: Tensor, lengths: Tensor, held: Tensor, held_values: Tensor, seen: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    whole = [
        torch.cat((shared.expand(len(own), -1, -1, -1), own), 2)
        for shared, own in ((held, keys), (held_values, values))
    ]
    return q.unsqueeze(2), whole[0], whole[1]


DECODE = Operation("decode attention", ("decode_attention",), settings=_settings, cases=_cases, seconds=3.0)
