"""What one new token of each row attends to: a cached tail and shared prefixes, with all lengths on the device.

Symbols: B batch, H heads, K key/value heads, D head size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gptapps import kernels
from gptapps.backbone.kv_cache import KVCache
from gptapps.backbone.segment import Segment


@dataclass(frozen=True, slots=True)
class SharedKeys:
    """A segment and the rows of the batch that stand behind it; ``rows`` is None for all of them."""

    segment: Segment
    rows: Tensor | None


@dataclass(frozen=True, slots=True)
class SeenKeys:
    """A segment and how much of it each row of the batch sees, (B,): all its tokens or none."""

    segment: Segment
    lengths: Tensor

    @classmethod
    def of(cls, shared: SharedKeys, batch: int, device: torch.device) -> SeenKeys:
        """Return what a batch of so many rows sees of shared keys."""
        size = shared.segment.end - shared.segment.start
        if shared.rows is None:
            return cls(shared.segment, torch.full((batch,), size, device=device))
        return cls(
            shared.segment, torch.zeros(batch, dtype=torch.int64, device=device).index_fill(0, shared.rows, size)
        )


class DecodingKeys:
    """Writes the keys and values of one token of each row behind its tail, and attends to all before it.

    Args:
        cache: which; B of its rows take part.
        slots: (B,) int64: the slot of each row's new token.
        positions: (B,) int64: where the token stands in its text.
        seen: the segments that rows stand behind.
        start: the first of the rows.
    """

    def __init__(
        self, cache: KVCache, slots: Tensor, positions: Tensor, seen: Sequence[SeenKeys], *, start: int = 0
    ) -> None:
        self._cache, self._slots, self._seen = cache, slots, seen
        self._rows = slice(start, start + len(slots))
        self._lengths = slots + 1
        self._places = [positions - one.segment.start for one in seen]

    def attend(
        self, layer: int, q: Tensor, keys: Tensor, values: Tensor, *, scale: float, window: int | None
    ) -> Tensor:
        """Store and attend in one layer.

        Args:
            layer: which.
            q: (B, H, 1, D).
            keys, values: (B, 1, K, D) of the new tokens.
            scale: multiplies the scores.
            window: how many tokens back, itself included, a token may look; None for all.

        Returns:
            (B, H, 1, D) in the type of the cache.
        """
        held = [tensor[layer, self._rows] for tensor in (self._cache.keys, self._cache.values)]  # (B, K, S, D)
        index = self._slots.view(-1, 1, 1, 1).expand(-1, keys.shape[2], 1, keys.shape[3])
        for cached, new in zip(held, (keys, values), strict=True):  # autocast may have widened what was rotated
            cached.scatter_(2, index, new.transpose(1, 2).to(cached.dtype))
        prefixes = [
            kernels.SharedPrefix(one.segment.keys[layer], one.segment.values[layer], one.lengths, places)
            for one, places in zip(self._seen, self._places, strict=True)
        ]
        out, _ = kernels.decode_attention(
            q.squeeze(2).to(held[0].dtype),
            held[0],
            held[1],
            self._lengths,
            scale=scale,
            prefixes=prefixes,
            window=window,
        )
        return out.unsqueeze(2)
