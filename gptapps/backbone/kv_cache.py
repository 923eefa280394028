"""Keys and values of tokens already read, in the one layout everything stands on.

Each row of a batch owns a *tail*: its slice of two tensors (L, B, K, S, D). In front of it may stand a chain
of *segments*: immutable keys and values that any number of rows share, counted by reference. A row's text is
its segments, root first, then its tail. Beam search shares the prompt's segment between beams and copies tails
only.

Symbols: L layers, B rows, K key/value heads, S tail slots, D head size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gptapps.backbone.config import GPTConfig
from gptapps.backbone.segment import Segment
from gptapps.errors import ResourceError


def bytes_per_token(config: GPTConfig, dtype: torch.dtype) -> int:
    """Return the memory that one token of one row takes."""
    attention = config.attention
    return 2 * config.layers * attention.kv_heads * attention.head_size * dtype.itemsize


class KVCache:
    """A batch of rows, each with a tail of its own and, where wanted, a shared prefix.

    Args:
        config: the backbone's.
        dtype, device: of the keys and values.
        max_bytes: the most memory the tails may take; None for no bound.

    Example:
        >>> cache = KVCache(backbone.config, dtype=torch.float32, device="cpu")   # doctest: +SKIP
        >>> rows = cache.add_rows(2)                                                # doctest: +SKIP
        >>> hidden = backbone(tokens, cache=rows)                                   # doctest: +SKIP
    """

    def __init__(
        self,
        config: GPTConfig,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        max_bytes: int | None = None,
    ) -> None:
        self.config = config
        self.max_bytes = max_bytes
        attention = config.attention
        shape = (config.layers, 0, attention.kv_heads, 0, attention.head_size)
        self.keys = torch.empty(shape, dtype=dtype, device=device)  # (L, B, K, S, D)
        self.values = torch.empty(shape, dtype=dtype, device=device)
        self.tails: list[int] = []
        self.prefixes: list[Segment | None] = []

    @property
    def rows(self) -> int:
        """Number of rows in use."""
        return len(self.tails)

    @property
    def bytes(self) -> int:
        """Memory that the tails take now; segments are counted by their owners."""
        return self.keys.nbytes + self.values.nbytes

    def length(self, row: int) -> int:
        """Return how many tokens of ``row``'s text have been read."""
        prefix = self.prefixes[row]
        return (prefix.end if prefix else 0) + self.tails[row]

    def lengths(self) -> list[int]:
        """Return how many tokens of each row's text have been read."""
        return [self.length(row) for row in range(self.rows)]

    def all_rows(self) -> CacheRows:
        """Return a view of every row."""
        return CacheRows(self, 0, self.rows)

    def add_rows(self, prefixes: int | Sequence[Segment | None]) -> CacheRows:
        """Append empty rows and return a view of them.

        Args:
            prefixes: how many rows without a prefix, or the prefix of each row (which is retained).

        Raises:
            ResourceError: the memory bound would be passed.
        """
        added = [None] * prefixes if isinstance(prefixes, int) else list(prefixes)
        start = self.rows
        self._reserve(start + len(added), 0)
        self.tails += [0] * len(added)
        self.prefixes += [prefix.retain() if prefix else None for prefix in added]
        return CacheRows(self, start, self.rows)

    def remove_row(self, row: int) -> None:
        """Forget ``row``; the last row takes its number."""
        last = self.rows - 1
        if row != last:
            tail = self.tails[last]
            self.keys[:, row, :, :tail] = self.keys[:, last, :, :tail]
            self.values[:, row, :, :tail] = self.values[:, last, :, :tail]
        prefix = self.prefixes[row]
        self.tails[row], self.prefixes[row] = self.tails[last], self.prefixes[last]
        self.tails.pop()
        self.prefixes.pop()
        if prefix:
            prefix.release()

    def reorder(self, sources: Sequence[int]) -> None:
        """Make row i continue what row ``sources[i]`` has read, for as many rows as there are sources.

        Beam search does so at every step.

        Raises:
            ResourceError: the memory bound would be passed.
        """
        if list(sources) == list(range(self.rows)):
            return
        self._reserve(len(sources), 0)
        index = torch.tensor(sources, device=self.keys.device)
        used = max(self.tails, default=0)
        for tensor in (self.keys, self.values):
            tensor[:, : len(sources), :, :used] = tensor[:, :, :, :used].index_select(1, index)
        kept = [self.prefixes[source] for source in sources]
        for prefix in kept:
            if prefix:
                prefix.retain()
        for prefix in self.prefixes:
            if prefix:
                prefix.release()
        self.tails = [self.tails[source] for source in sources]
        self.prefixes = kept

    def truncate(self, row: int, length: int) -> None:
        """Forget what ``row`` read past ``length`` tokens, which must lie within its tail."""
        self.tails[row] -= self.length(row) - length

    def freeze(self, row: int) -> Segment:
        """Return a copy of ``row``'s tail as a segment that continues the row's prefix.

        The caller owns one reference and gives it back by :meth:`Segment.release`. The row stays as it is.
        """
        tail = self.tails[row]
        return Segment(self.keys[:, row, :, :tail].clone(), self.values[:, row, :, :tail].clone(), self.prefixes[row])

    def adopt(self, row: int, segment: Segment) -> None:
        """Let ``row`` stand behind ``segment``, which it retains, with an empty tail."""
        previous = self.prefixes[row]
        self.prefixes[row] = segment.retain()
        self.tails[row] = 0
        if previous:
            previous.release()

    def inherit(self, row: int, segment: Segment) -> None:
        """Copy ``segment``, and those before it, into the empty tail of ``row``, which then needs them no more.

        Raises:
            ResourceError: the memory bound would be passed.
        """
        self.reserve(segment.end)
        for one in segment.chain():
            self.keys[:, row, :, one.start : one.end] = one.keys
            self.values[:, row, :, one.start : one.end] = one.values
        self.tails[row] = segment.end

    def restrict(self, max_bytes: int) -> None:
        """Set another memory bound, and give back what rows that left had reserved if it would be passed."""
        self.max_bytes = max_bytes
        if self.bytes > max_bytes:
            used = max(self.tails, default=0)
            self.keys = self.keys[:, : self.rows, :, :used].clone()
            self.values = self.values[:, : self.rows, :, :used].clone()

    def release(self) -> None:
        """Forget every row and give the memory back."""
        while self.rows:
            self.remove_row(self.rows - 1)
        self.keys, self.values = self.keys[:, :0, :, :0].clone(), self.values[:, :0, :, :0].clone()

    def reserve(self, tokens: int) -> None:
        """Make room for tails of ``tokens`` tokens; longer ones still grow it.

        Raises:
            ResourceError: the memory bound would be passed.
        """
        self._reserve(self.rows, tokens)

    def _reserve(self, rows: int, slots: int) -> None:
        held_rows, held_slots = self.keys.shape[1], self.keys.shape[3]
        if rows <= held_rows and slots <= held_slots:
            return
        used = max(self.tails, default=0)
        grown = (max(rows, held_rows), max(slots, held_slots))
        if self._passes_bound(*grown):  # drop what rows that left had reserved
            grown = (max(rows, self.rows), max(slots, used))
        if self._passes_bound(*grown):
            needed = grown[0] * grown[1] * bytes_per_token(self.config, self.keys.dtype)
            raise ResourceError(
                f"{grown[0]} texts of {grown[1]} tokens need {needed:,} bytes of key/value cache, more "
                f"than the bound of {self.max_bytes or 0:,} bytes: lower batch_size or shorten the texts."
            )
        for name in ("keys", "values"):
            old = getattr(self, name)
            # Zeros, because a masked slot still takes part as 0 times what it holds, which must not be NaN.
            new = old.new_zeros((old.shape[0], grown[0], old.shape[2], grown[1], old.shape[4]))
            new[:, : self.rows, :, :used] = old[:, : self.rows, :, :used]
            setattr(self, name, new)

    def _passes_bound(self, rows: int, slots: int) -> bool:
        needed = rows * slots * bytes_per_token(self.config, self.keys.dtype)
        return self.max_bytes is not None and needed > self.max_bytes


@dataclass(frozen=True, slots=True)
class CacheRows:
    """Rows ``start`` to ``stop`` of a cache: what one forward pass reads and extends."""

    cache: KVCache
    start: int
    stop: int

    @property
    def tails(self) -> list[int]:
        """Tail length of each row."""
        return self.cache.tails[self.start : self.stop]

    @property
    def prefixes(self) -> list[Segment | None]:
        """Shared prefix of each row."""
        return self.cache.prefixes[self.start : self.stop]

    def lengths(self) -> list[int]:
        """Return how many tokens of each row's text have been read."""
        return [self.cache.length(row) for row in range(self.start, self.stop)]

    def make_room(self, tokens: int) -> None:
        """Grow the tails so that each row can take ``tokens`` more; by half again, so that growth is rare.

        Raises:
            ResourceError: the memory bound would be passed.
        """
        needed = max(self.tails) + tokens
        cache = self.cache
        if needed > cache.keys.shape[3]:
            generous = max(needed, min(cache.keys.shape[3] * 3 // 2, cache.config.context_length))
            try:
                cache.reserve(generous)
            except ResourceError:
                cache.reserve(needed)

    def write(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Store the keys and values of new tokens behind each tail.

        Args:
            layer: which block.
            keys, values: (B, T, K, D).

        Returns:
            Views (B, K, S, D) of keys and values; a row's own are the first ``tail + T`` slots.
        """
        tokens, tails = keys.shape[1], self.tails
        end = max(tails) + tokens
        held_keys = self.cache.keys[layer, self.start : self.stop, :, :end]
        held_values = self.cache.values[layer, self.start : self.stop, :, :end]
        if min(tails) == max(tails):
            held_keys[:, :, tails[0] :] = keys.transpose(1, 2)
            held_values[:, :, tails[0] :] = values.transpose(1, 2)
        else:
            device = keys.device
            rows = torch.arange(len(tails), device=device).unsqueeze(1)  # (B, 1)
            slots = torch.tensor(tails, device=device).unsqueeze(1) + torch.arange(tokens, device=device)  # (B, T)
            held_keys[rows, :, slots] = keys
            held_values[rows, :, slots] = values
        return held_keys, held_values

    def advance(self, tokens: Sequence[int]) -> None:
        """Count ``tokens[i]`` more tokens as read by the i-th row."""
        for row, count in zip(range(self.start, self.stop), tokens, strict=True):
            self.cache.tails[row] += count
