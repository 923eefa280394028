"""The other two doors to attention's kernel: texts packed behind an opening, and attention to a part of the keys."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from benchmarks.speed.gpu.card import Draw
from benchmarks.speed.gpu.work import Inputs, Setting
from gptapps import kernels
from gptapps.kernels import Packing, Visibility


def packed_setting(texts: tuple[int, ...], opening: int, size: int, window: int | None) -> Setting:
    """Return texts behind an opening that all of them see; 4 heads on 2."""
    return Setting(
        name=f"{len(texts)} texts packed behind {opening} tokens, D {size}{f', window {window}' if window else ''}",
        make=partial(_packed_inputs, tokens=opening + sum(texts), size=size),
        ours=partial(_packed, texts=texts, opening=opening, window=window),
        plain=partial(_plain_packed, texts=texts, opening=opening, window=window),
        learned=(0, 1, 2),
        slack=2.0,
    )


def partial_setting(batch: int, tokens: int, keys: int, size: int) -> Setting:
    """Return rows that see the same keys, all of them; 4 heads on 2."""
    return Setting(
        name=f"B {batch}, T {tokens} on {keys} shared keys, D {size}, with log-sum-exp",
        make=partial(_shared_inputs, batch=batch, tokens=tokens, keys=keys, size=size),
        ours=_partial,
        plain=_plain_partial,
    )


def _packed_inputs(draw: Draw, tokens: int, size: int) -> Inputs:
    q, k, v = (draw.normal(1, tokens, heads, size).transpose(1, 2) for heads in (4, 2, 2))
    return q, k, v


def _packed(q: Tensor, k: Tensor, v: Tensor, texts: tuple[int, ...], opening: int, window: int | None) -> Tensor:
    packing = Packing.of(texts, opening=opening, device=q.device)
    return kernels.packed_attention(q, k, v, packing, scale=q.shape[-1] ** -0.5, window=window)


def _plain_packed(q: Tensor, k: Tensor, v: Tensor, texts: tuple[int, ...], opening: int, window: int | None) -> Tensor:
    places = torch.cat([torch.arange(opening), *(torch.arange(opening, opening + length) for length in texts)])
    owners = torch.cat([torch.full((opening,), -1), torch.repeat_interleave(torch.tensor(texts))])
    ahead = places.unsqueeze(1) - places  # of the query, on the key
    seen = (ahead >= 0) & ((owners == -1) | (owners == owners.unsqueeze(1)))
    if window is not None:
        seen &= ahead < window
    return _attention(q, k, v, seen.to(q.device))[0]


def _shared_inputs(draw: Draw, batch: int, tokens: int, keys: int, size: int) -> Inputs:
    return draw.normal(batch, 4, tokens, size), draw.normal(1, 2, keys, size), draw.normal(1, 2, keys, size)


def _partial(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    return kernels.partial_attention(q, k, v, scale=q.shape[-1] ** -0.5, visible=Visibility())


def _plain_partial(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    return _attention(q, k, v, torch.ones((), dtype=torch.bool, device=q.device))


def _attention(q: Tensor, k: Tensor, v: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
    k, v = (tensor.repeat_interleave(q.shape[1] // tensor.shape[1], 1) for tensor in (k, v))
    scores = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).masked_fill(~seen, -torch.inf)
    return scores.softmax(-1) @ v, scores.logsumexp(-1, keepdim=True)
