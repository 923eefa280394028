"""Texts that begin alike, read side by side: every token they share stands once, and sees its own text only.

Symbols: L layers, K key/value heads, S tokens read before, T new tokens, D head size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Branching:
    """How the T new tokens of a single row belong to several texts.

    Attributes:
        positions: (T,) place of each new token in its text.
        visible: (T, S + T) bool: which tokens stand before each new token in its text, or are it; those that were read
            before come first.
        past: keys and values (L, K, S_i, D) of stretches that were read before, S tokens together.
        past_positions: (S,) place of each of their tokens in its text.

    Example:
        >>> both = torch.tensor([[1, 0, 0], [1, 1, 0], [1, 0, 1]]).bool()   # two texts that share their first token
        >>> branching = Branching(torch.tensor([0, 1, 1]), both)
        >>> branching.length
        2
    """

    positions: Tensor
    visible: Tensor
    past: Sequence[tuple[Tensor, Tensor]] = ()
    past_positions: Tensor | None = None

    @property
    def length(self) -> int:
        """Tokens of the longest text."""
        return int(self.positions.max()) + 1

    def mask(self, window: int | None) -> Tensor:
        """Return which keys (1, 1, T, S + T) each new token may look at in a layer with this window."""
        if window is None or self.length <= window:
            return self.visible.view(1, 1, *self.visible.shape)
        keys = self.positions if self.past_positions is None else torch.cat((self.past_positions, self.positions))
        near = self.positions.unsqueeze(1) - keys < window
        return (self.visible & near).view(1, 1, *self.visible.shape)

    def behind_past(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Return keys and values (1, K, S + T, D) of a layer for the new ones (1, K, T, D)."""
        return (
            torch.cat((*(past[layer].unsqueeze(0) for past, _ in self.past), keys), 2),
            torch.cat((*(past[layer].unsqueeze(0) for _, past in self.past), values), 2),
        )
