"""The GPT itself: token ids in, hidden states out.

Symbols: B batch, T tokens, C channels, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import torch
from torch import Tensor, nn

from gptapps.backbone.attention import BranchedStep, Step
from gptapps.backbone.branching import Branching
from gptapps.backbone.config import GPTConfig
from gptapps.backbone.kv_cache import CacheRows
from gptapps.backbone.layers import make_block, make_norm
from gptapps.backbone.linear import embedding
from gptapps.backbone.packed_texts import PackedStep
from gptapps.backbone.token_step import TokenStep
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
        return next(self.blocks.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights and hidden states."""
        return next(self.blocks.parameters()).dtype

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
        real = self._lengths(tokens, cache, lengths)
        if cache is not None:
            cache.make_room(tokens.shape[1])
        step = self._step(tokens, cache, real)
        x = self._read(tokens, step)
        if cache is not None:
            cache.advance(real)
        return x

    def read_packed(self, tokens: Tensor, texts: Sequence[int], *, opening: int = 0, causal: bool = True) -> Tensor:
        """Read texts that lie one behind the other and return the hidden state behind each token.

        Each text is read as if it stood alone: positions begin anew, and no text sees another. What all of them begin
        with may stand in front of them once.

        Args:
            tokens: (T,) int64 ids.
            texts: how many tokens each text has behind the opening; T in all with it.
            opening: how many tokens all texts begin with; 0 where
                :func:`~gptapps.backbone.packed_texts.can_share_opening` says no.
            causal: False lets each token see what follows it in its text; only without an opening.

        Returns:
            (T, C), after the final norm.

        Raises:
            InputTooLongError: a text passes the context length.
        """
        self._refuse_beyond_context(opening + max(texts))
        step = PackedStep(self.config, texts, opening, self.device, self.dtype, causal=causal)
        return self._read(tokens.unsqueeze(0), step).squeeze(0)

    def read_branched(self, tokens: Tensor, branching: Branching, *, cache: CacheRows | None = None) -> Tensor:
        """Read texts of which each token they share stands once, and return the hidden state behind each token.

        Each text is read as if it stood alone.

        Args:
            tokens: (T,) int64 ids.
            branching: which of them belong to which text, and what was read before.
            cache: an empty row that gets their keys and values.

        Returns:
            (T, C), after the final norm.

        Raises:
            InputTooLongError: a text passes the context length.
            ResourceError: the cache's memory bound would be passed.
        """
        self._refuse_beyond_context(branching.length)
        if cache is not None:
            cache.make_room(len(tokens))
        step = BranchedStep(self.config, branching, cache, self.device, self.dtype)
        x = self._read(tokens.unsqueeze(0), step)
        if cache is not None:
            cache.advance([len(tokens)])
        return x.squeeze(0)

    def read_tokens(self, tokens: Tensor, step: TokenStep) -> Tensor:
        """Read one more token of each row, all that differs from token to token being on the device.

        Args:
            tokens: (B,) int64 ids.
            step: where they stand, and the cache that gets their keys and values; the caller sees to its room, and
                counts the tokens as read.

        Returns:
            (B, C), after the final norm.
        """
        return self._read(tokens.unsqueeze(1), step).squeeze(1)

    def layer_states(
        self, tokens: Tensor, layers: Collection[int], *, lengths: Sequence[int] | None = None
    ) -> Iterator[tuple[int, Tensor]]:
        """Yield the hidden states behind some of the layers, the lowest first; none above the highest is computed.

        Args:
            tokens: (B, T) int64 ids, padded on the right.
            layers: which: 0 is the embedding, n what the n-th block gives; behind the last one the final norm counts
                as well, as with transformers' ``hidden_states``.
            lengths: how many of each row's T tokens are real; None for all.

        Yields:
            The layer's number and its states, (B, T, C).

        Raises:
            InputTooLongError: a row would pass the context length.
        """
        yield from self._layer_states(tokens, layers, self._step(tokens, None, self._lengths(tokens, None, lengths)))

    def packed_layer_states(
        self, tokens: Tensor, texts: Sequence[int], layers: Collection[int]
    ) -> Iterator[tuple[int, Tensor]]:
        """Yield the hidden states (T, C) behind some of the layers of texts that lie one behind the other.

        Args:
            tokens, texts: see :meth:`read_packed`; without an opening.
            layers: see :meth:`layer_states`.

        Raises:
            InputTooLongError: a text passes the context length.
        """
        self._refuse_beyond_context(max(texts))
        step = PackedStep(self.config, texts, 0, self.device, self.dtype)
        for layer, states in self._layer_states(tokens.unsqueeze(0), layers, step):
            yield layer, states.squeeze(0)

    def _layer_states(self, tokens: Tensor, layers: Collection[int], step: Step) -> Iterator[tuple[int, Tensor]]:
        x, left = self._embedded(tokens, step), None
        if 0 in layers:
            yield 0, x
        for number, block in enumerate(self.blocks[: max(layers, default=0)], 1):
            x, left = block(x, left, step)
            if number in layers:
                is_last = number == len(self.blocks)
                states = x if left is None else x + left
                yield number, self.final_norm(states) if is_last and self.final_norm is not None else states

    def _read(self, tokens: Tensor, step: Step) -> Tensor:
        x, left = self._embedded(tokens, step), None
        for block in self.blocks:
            x, left = block(x, left, step)
        if self.final_norm is not None:
            normed, _ = self.final_norm.add(x, left)
            return normed
        return x if left is None else x + left

    def _lengths(self, tokens: Tensor, cache: CacheRows | None, lengths: Sequence[int] | None) -> list[int]:
        batch, count = tokens.shape
        real = [count] * batch if lengths is None else list(lengths)
        read = cache.lengths() if cache is not None else [0] * batch
        self._refuse_beyond_context(max(before + new for before, new in zip(read, real, strict=True)))
        return real

    def _refuse_beyond_context(self, longest: int) -> None:
        if longest > self.config.context_length:
            raise InputTooLongError(
                f"{longest} tokens are more than the {self.config.context_length} that the model can hold."
            )

    def _step(self, tokens: Tensor, cache: CacheRows | None, lengths: list[int]) -> Step:
        batch, count = tokens.shape
        return Step(self.config, batch, count, cache, lengths, self.device, self.dtype)

    def _embedded(self, tokens: Tensor, step: Step) -> Tensor:
        x: Tensor = self.token_embedding(tokens)
        if self.config.embedding_scale != 1.0:
            x = x * torch.tensor(self.config.embedding_scale, dtype=x.dtype)
        if self.position_embedding is not None:
            x = x + self.position_embedding(step.positions.clamp_max(self.config.context_length - 1))
        return x
