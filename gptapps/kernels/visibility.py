"""Which keys a query may look at, described instead of written out wherever a description will do.

Symbols: B rows, T query tokens, S key tokens, H heads, N packed texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Visibility:
    """Which keys each query may look at.

    Query i of a row stands at place ``i + offset`` among the row's keys, and may look at key j where all of this holds:

    * j is below the row's key length;
    * j is below the row's prefix length, or neither ahead of the query (``causal``) nor ``window`` or more away;
    * ``mask`` has True there.

    Attributes:
        causal: no query looks ahead.
        window: how many tokens back, itself included, a query looks; without ``causal`` as many ahead; None for all.
        mask: (B or 1, H or 1, T, S) bool for what the rest can't describe; not for packed texts.
        key_lengths: (B,) keys of each row, the rest being padding on the right; None for S.
        prefix_lengths: (B,) keys at the start of each row that all its queries see.
        offsets: (B,) place of each row's first query among its keys; None for ends that meet, S - T.
        query_bounds: (N + 1,) int32 where each text of a packed row starts and ends among the queries: the texts are
            the rows then, whatever each one's length; None where nothing is packed.
        key_bounds: (N + 1,) int32, the same among the keys.
        longest: most queries of a packed text.
        longest_keys: most keys of a packed text; 0 for as many as there are queries where the bounds are the same, and
            for not known where they aren't.

    Example:
        >>> Visibility(causal=True, window=2).dense(1, 3, 3, "cpu")[0, 0].int().tolist()
        [[1, 0, 0], [1, 1, 0], [0, 1, 1]]
    """

    causal: bool = False
    window: int | None = None
    mask: Tensor | None = None
    key_lengths: Tensor | None = None
    prefix_lengths: Tensor | None = None
    offsets: Tensor | None = None
    query_bounds: Tensor | None = None
    key_bounds: Tensor | None = None
    longest: int = 0
    longest_keys: int = 0

    @property
    def most_keys(self) -> int | None:
        """The most keys that a packed text has; None where that isn't known."""
        return self.longest_keys or (self.longest if self.key_bounds is self.query_bounds else None)

    @property
    def is_plain(self) -> bool:
        """Whether there is nothing beyond ``causal`` and ``mask``."""
        return (
            self.window is None
            and self.key_lengths is None
            and self.prefix_lengths is None
            and self.offsets is None
            and self.query_bounds is None
        )

    def dense(self, batch: int, tokens: int, keys: int, device: torch.device | str) -> Tensor:
        """Return all of it as a mask, (B, 1 or H, T, S) bool; for packed texts (1, 1, T, S) over all of them.

        Args:
            batch: B; without meaning for packed texts.
            tokens, keys: T and S.
            device: where the mask shall lie.
        """
        if self.query_bounds is not None and self.key_bounds is not None:
            return self._packed(self.query_bounds.tolist(), self.key_bounds.tolist(), tokens, keys, device)
        return self._rows(batch, tokens, keys, device)

    def _rows(self, batch: int, tokens: int, keys: int, device: torch.device | str) -> Tensor:
        places = torch.arange(tokens, device=device).view(1, -1, 1)
        places = places + (keys - tokens if self.offsets is None else self.offsets.view(-1, 1, 1))  # (B or 1, T, 1)
        others = torch.arange(keys, device=device)
        ahead = others - places
        seen = torch.ones_like(ahead, dtype=torch.bool)
        if self.causal:
            seen &= ahead <= 0
        if self.window is not None:
            seen &= ahead.abs() < self.window
        if self.prefix_lengths is not None:
            seen = seen | (others < self.prefix_lengths.view(-1, 1, 1))
        if self.key_lengths is not None:
            seen = seen & (others < self.key_lengths.view(-1, 1, 1))
        seen = seen.unsqueeze(1)  # (B or 1, 1, T, S)
        if self.mask is not None:
            seen = seen & self.mask
        return seen.expand(batch, -1, -1, -1)

    def _packed(
        self, queries: Sequence[int], keys: Sequence[int], tokens: int, others: int, device: torch.device | str
    ) -> Tensor:
        seen = torch.zeros(1, 1, tokens, others, dtype=torch.bool, device=device)
        for row in range(len(queries) - 1):
            (start, end), (first, last) = queries[row : row + 2], keys[row : row + 2]
            lengths, prefixes, offsets = (
                None if x is None else x[row : row + 1] for x in (self.key_lengths, self.prefix_lengths, self.offsets)
            )
            alone = Visibility(self.causal, self.window, None, lengths, prefixes, offsets)
            seen[:, :, start:end, first:last] = alone.dense(1, end - start, last - first, device)
        return seen
