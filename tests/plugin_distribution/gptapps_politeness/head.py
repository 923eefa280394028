"""A head that gptapps doesn't have."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gptapps.backbone.gpt import GPTBackbone


class RatingHead(nn.Module):
    """Rates a text by its last hidden state: (N, C) -> (N,), between 0 and 1."""

    def __init__(self, backbone: GPTBackbone) -> None:
        super().__init__()
        channels = backbone.config.channels
        self.register_buffer("direction", torch.linspace(-1, 1, channels) / channels)

    def forward(self, hidden: Tensor) -> Tensor:
        """Return the ratings."""
        return torch.sigmoid(hidden @ self.direction)
