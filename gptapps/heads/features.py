"""Which hidden states of a frozen backbone a head reads, and how a text's become one row of numbers.

Symbols: B batch, T tokens, C channels, F features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Pooling = Literal["last", "mean"]
POOLINGS: tuple[Pooling, ...] = ("last", "mean")

DEPTHS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75)
"""Of the layers that are tried, 1 being the last: what a text means is plainest in the middle."""

ROUNDING = 1e-4
"""The share of a feature that another batch may change: one that varies by less is noise."""


@dataclass(frozen=True, slots=True)
class Features:
    """What of a text's hidden states is kept.

    Attributes:
        layers: which, counted as :meth:`~gptapps.backbone.gpt.GPTBackbone.layer_states` does.
        poolings: ``"last"`` is the state behind a text's last token, ``"mean"`` the mean over all its tokens but the
            first: that one sees nothing else, and its state is far from all others in every text (Xiao et al. 2023,
            "Efficient streaming language models with attention sinks").
    """

    layers: tuple[int, ...]
    poolings: tuple[Pooling, ...]

    def size(self, channels: int) -> int:
        """Return F for a backbone of so many channels."""
        return len(self.layers) * len(self.poolings) * channels

    def pooled(self, states: Mapping[int, Tensor], lengths: Sequence[int]) -> Tensor:
        """Return the features of a batch of texts.

        Args:
            states: layer -> (B, T, C), padded on the right.
            lengths: how many of each row's T tokens are real.

        Returns:
            (B, F) in float32: the layers in order, of each the poolings in order.
        """
        parts = [pool(states[layer], lengths, pooling) for layer in self.layers for pooling in self.poolings]
        return torch.cat(parts, 1)


def middle_layers(count: int, depths: Sequence[float] = DEPTHS) -> tuple[int, ...]:
    """Return the layers of a model with ``count`` layers at these depths, 1 being the last.

    Example:
        >>> middle_layers(30)
        (15, 16, 18, 20, 21, 22)
    """
    return tuple(sorted({max(1, round(count * depth)) for depth in depths}))


def pool(states: Tensor, lengths: Sequence[int], pooling: Pooling) -> Tensor:
    """Return one state (B, C) for each text of (B, T, C), in float32; padding counts nothing.

    Example:
        >>> pool(torch.tensor([[[50.0], [3.0], [5.0], [9.0]]]), [3], "mean")
        tensor([[4.]])
    """
    real = torch.tensor(lengths, device=states.device)
    if pooling == "last":
        return states[torch.arange(len(lengths), device=states.device), real - 1].float()
    place = torch.arange(states.shape[1], device=states.device)
    counts = (place < real.unsqueeze(1)) & ((place > 0) | (real.unsqueeze(1) == 1))  # (B, T)
    total = states.float().masked_fill(~counts.unsqueeze(2), 0).sum(1)
    return total / counts.sum(1, keepdim=True)
