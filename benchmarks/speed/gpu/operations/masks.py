"""Which keys a query sees, said twice: as gptapps is told, and as a predicate, which FlexAttention takes too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.speed.gpu.card import Draw
from gptapps.kernels.visibility import Visibility

Predicate = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""From row, head, place of the query among the keys, and key to whether it is seen; all broadcast."""


def _nothing(draw: Draw, batch: int, tokens: int, keys: int) -> tuple[Tensor, ...]:
    return ()


@dataclass(frozen=True, slots=True)
class Mask:
    """A kind of mask.

    Attributes:
        name: as sizes call it.
        visible: what gptapps is told, from the extra inputs.
        seen: the same as a predicate.
        extras: draws the extra inputs, for B, T and S.
    """

    name: str
    visible: Callable[..., Visibility]
    seen: Callable[..., Predicate]
    extras: Callable[[Draw, int, int, int], tuple[Tensor, ...]] = _nothing

    def dense(self, extras: tuple[Tensor, ...], batch: int, tokens: int, keys: int, device: torch.device) -> Tensor:
        """Return what is seen, (B, 1, T, S) bool."""
        rows = torch.arange(batch, device=device).view(-1, 1, 1, 1)
        places = torch.arange(keys - tokens, keys, device=device).view(1, 1, -1, 1)
        others = torch.arange(keys, device=device).view(1, 1, 1, -1)
        seen = self.seen(*extras)(rows, torch.zeros_like(rows), places, others)
        return seen.expand(batch, 1, tokens, keys)


CAUSAL = Mask("causal", lambda: Visibility(causal=True), lambda: lambda b, h, q, k: k <= q)
EVERYTHING = Mask("bidirectional", lambda: Visibility(), lambda: lambda b, h, q, k: (k >= 0) & (q >= 0))


def window(size: int) -> Mask:
    """Return a causal window of so many tokens, the query's own included."""
    return Mask(
        f"window {size}",
        lambda: Visibility(causal=True, window=size),
        lambda: lambda b, h, q, k: (k <= q) & (q - k < size),
    )


def band(size: int) -> Mask:
    """Return a window to both sides."""
    return Mask(
        f"band {size}",
        lambda: Visibility(window=size),
        lambda: lambda b, h, q, k: (q - k).abs() < size,
    )


def packed(lengths: tuple[int, ...]) -> Mask:
    """Return causal texts of these lengths that lie one behind the other and don't see each other."""

    def bounds(draw: Draw, batch: int, tokens: int, keys: int) -> tuple[Tensor, ...]:
        ends = torch.tensor([0, *lengths], device=draw.device).cumsum(0)
        return (ends.to(torch.int32),)

    def visible(ends: Tensor) -> Visibility:
        return Visibility(causal=True, query_bounds=ends, key_bounds=ends, longest=max(lengths))

    def seen(ends: Tensor) -> Predicate:
        texts = torch.repeat_interleave(torch.tensor(lengths, device=ends.device))
        return lambda b, h, q, k: (k <= q) & (texts[q] == texts[k])

    return Mask(f"{len(lengths)} texts packed", visible, seen, bounds)


PREFIX = Mask(
    "causal behind a prefix",
    lambda lengths: Visibility(causal=True, prefix_lengths=lengths),
    lambda lengths: lambda b, h, q, k: (k <= q) | (k < lengths[b]),
    lambda draw, batch, tokens, keys: (draw.integers(tokens + 1, batch),),
)
PADDED = Mask(
    "bidirectional, padded on the right",
    lambda lengths: Visibility(key_lengths=lengths),
    lambda lengths: lambda b, h, q, k: k < lengths[b],
    lambda draw, batch, tokens, keys: (draw.integers(keys + 1, batch),),
)
"""A row of it may have no key at all."""


def _random(draw: Draw, batch: int, tokens: int, keys: int) -> tuple[Tensor, ...]:
    mask = draw.integers(3, batch, 1, tokens, keys) > 0
    mask[:, :, ::5] = False
    return (mask,)


RANDOM = Mask(
    "any mask, every fifth query blind",
    lambda mask: Visibility(mask=mask),
    lambda mask: lambda b, h, q, k: mask[b, 0, q - (mask.shape[3] - mask.shape[2]), k],
    _random,
)
