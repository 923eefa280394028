"""The vocabulary projection: which token comes next."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gptapps.backbone.compact import CompactEmbedding, install_compact
from gptapps.backbone.gpt import GPTBackbone
from gptapps.backbone.linear import linear


class LanguageModelHead(nn.Module):
    """Scores every token of the vocabulary as the next one.

    Args:
        backbone: the GPT whose hidden states it reads; a tied head uses its token embedding.

    Source: Radford et al. 2018, equation 2.
    """

    def __init__(self, backbone: GPTBackbone) -> None:
        super().__init__()
        config = backbone.config
        self.logit_cap = config.logit_cap
        self.projection = linear(config.channels, config.vocabulary_size, bias=config.vocabulary_bias)
        if config.tied_vocabulary:
            embedding = backbone.token_embedding
            if isinstance(embedding, CompactEmbedding):
                install_compact(self, "projection", embedding.matrix, embedding.dtype)
            else:
                self.projection.weight = embedding.weight

    def forward(self, hidden: Tensor) -> Tensor:
        """Return logits (..., V) for hidden states (..., C)."""
        logits: Tensor = self.projection(hidden)
        return logits if self.logit_cap is None else self.logit_cap * torch.tanh(logits / self.logit_cap)
