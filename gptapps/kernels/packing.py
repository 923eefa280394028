"""Texts that lie one behind the other in one row, what all of them begin with in front of them once.

Symbols: N texts, T tokens in all, O tokens of the opening.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gptapps.kernels.visibility import Visibility


@dataclass(frozen=True, slots=True, eq=False)
class Packing:
    """Where packed texts start and end, told once for all layers.

    With an opening, its own tokens are the first row of queries, and each text's keys are the opening's and its own.

    Attributes:
        texts: tokens of each text without those of the opening; T in all with it.
        opening: O.
        query_bounds, key_bounds: (rows + 1,) int32, see :class:`~gptapps.kernels.visibility.Visibility`.
        keys: which tokens' keys stand where, int64; None where each stands once, at its token's place.

    Example:
        >>> Packing.of([2, 1], opening=3, device="cpu").keys.tolist()
        [0, 1, 2, 0, 1, 2, 3, 4, 0, 1, 2, 5]
    """

    texts: tuple[int, ...]
    opening: int
    query_bounds: Tensor
    key_bounds: Tensor
    keys: Tensor | None = None

    @classmethod
    def of(cls, texts: Sequence[int], *, opening: int = 0, device: torch.device | str) -> Packing:
        """Return the packing of ``texts`` behind ``opening`` tokens, its tensors on ``device``."""
        texts = tuple(texts)
        if not opening:
            bounds = _bounds(texts, device)
            return cls(texts, 0, bounds, bounds)
        tokens = torch.arange(opening + sum(texts))
        first, behind = tokens[:opening], torch.split(tokens[opening:], list(texts))
        keys = torch.cat([first, *(part for text in behind for part in (first, text))])
        return cls(
            texts,
            opening,
            _bounds((opening, *texts), device),
            _bounds((opening, *(opening + text for text in texts)), device),
            keys.to(device),
        )

    def visibility(self, *, causal: bool, window: int | None) -> Visibility:
        """Return who sees what, with this window, each text alone.

        Raises:
            ValueError: an opening is to see the texts that follow it, which have nothing in common.
        """
        if self.opening and not causal:
            raise ValueError("An opening that several texts share can't be seen in both directions.")
        longest = max((self.opening, *self.texts))
        return Visibility(
            causal=causal,
            window=window,
            query_bounds=self.query_bounds,
            key_bounds=self.key_bounds,
            longest=longest,
            longest_keys=max((self.opening, *(self.opening + text for text in self.texts))),
        )


def _bounds(lengths: Sequence[int], device: torch.device | str) -> Tensor:
    return torch.tensor((0, *lengths)).cumsum(0).to(device, torch.int32)
