"""The GPT itself: token ids in, hidden states out.

Symbols: B batch, T tokens, C channels, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gptapps.backbone.attention import Step
from gptapps.backbone.config import GPTConfig
from gptapps.backbone.kv_cache import CacheRows
from gptapps.backbone.layers import make_block, make_norm
from gptapps.backbone.linear import embedding
from gptapps.errors import InputTooLongError


class GPTBackbone(nn.Module):
    """Decoder-only Transformer of any family, built from a :class:`GPTConfig`.

    Padding stands on the right, so causality alone keeps it out of sight of every real token: a row's hidden
    states do not depend on how far the batch was padded.

    Example:
        >>> backbone = GPTBackbone(config)                        # doctest: +SKIP
        >>> backbone(torch.tensor([[1, 2, 3]])).shape             # doctest: +SKIP
        torch.Size([1, 3, 64])
    """

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        self.token_embedding = embedding(config.vocabulary_size, config.channels)
        self.position_embedding = embedding(config.context_length, config.channels) if config.rotary is None else None
        self.blocks = nn.ModuleList(make_block(config, layer) for layer in range(config.layers))
        self.final_norm = make_norm(config.norm, config.channels) if config.final_norm else None

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return self.token_embedding.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights and hidden states."""
        return self.token_embedding.weight.dtype

    def forward(
        self, tokens: Tensor, *, cache: CacheRows | None = None, lengths: Sequence[int] | None = None
    ) -> Tensor:
        """Read tokens and return the hidden state behind each.

        Args:
            tokens: (B, T) int64 ids, padded on the right.
            cache: rows that hold what was read before; they are extended by these tokens.
            lengths: how many of each row's T tokens are real; None for all.

        Returns:
            (B, T, C), after the final norm; meaningless where the padding stands.

        Raises:
            InputTooLongError: a row would pass the context length.
            ResourceError: the cache's memory bound would be passed.
        """
        batch, count = tokens.shape
        real = [count] * batch if lengths is None else list(lengths)
        read = cache.lengths() if cache is not None else [0] * batch
        longest = max(before + new for before, new in zip(read, real, strict=True))
        if longest > self.config.context_length:
            raise InputTooLongError(
                f"{longest} tokens are more than the {self.config.context_length} that the model can hold."
            )
        if cache is not None:
            cache.make_room(count)
        step = Step(self.config, batch, count, cache, real, self.device, self.dtype)
        x: Tensor = self.token_embedding(tokens)
        if self.config.embedding_scale != 1.0:
            x = x * torch.tensor(self.config.embedding_scale, dtype=x.dtype)
        if self.position_embedding is not None:
            x = x + self.position_embedding(step.positions.clamp_max(self.config.context_length - 1))
        for block in self.blocks:
            x = block(x, step)
        if self.final_norm is not None:
            x = self.final_norm(x)
        if cache is not None:
            cache.advance(real)
        return x
