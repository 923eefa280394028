"""Ways to continue texts a token at a time.

Symbols: B texts, T tokens, V vocabulary.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from benchmarks.speed.gpu.sides import Ours, Theirs
from benchmarks.speed.measuring import BenchmarkError
from gptapps.backbone.kv_cache import CacheRows, KVCache
from gptapps.decoding.token_steps import TokenSteps


class Decoder(Protocol):
    """Continues texts."""

    def read(self, prompts: Tensor) -> Tensor:
        """Forget what was read, read prompts (B, T), and return the logits (B, V) behind them."""

    def step(self, tokens: Tensor) -> Tensor:
        """Read one more token of each text (B,), and return the logits (B, V) behind it, good until the next step."""


class CachedDecoder:
    """gptapps' backbone, called once a token."""

    def __init__(self, side: Ours) -> None:
        self._side = side
        self._rows: CacheRows | None = None

    def read(self, prompts: Tensor) -> Tensor:
        """See :meth:`Decoder.read`."""
        self._rows = _new_cache(self._side).add_rows(len(prompts))
        return self._behind(prompts)

    def step(self, tokens: Tensor) -> Tensor:
        """See :meth:`Decoder.step`."""
        return self._behind(tokens.unsqueeze(1))

    def _behind(self, tokens: Tensor) -> Tensor:
        out: Tensor = self._side.head(self._side.backbone(tokens, cache=self._rows)[:, -1])
        return out


class SteppingDecoder:
    """gptapps' steps as its engine takes them: on a GPU captured as a CUDA graph, which stays from text to text.

    Args:
        side: whose backbone and head.

    Raises:
        BenchmarkError: at the second step behind a prompt, if on a GPU no graph was captured by then.
    """

    def __init__(self, side: Ours) -> None:
        self._model = _Model(side)
        self._cache = _new_cache(side)
        model: Any = self._model
        self._steps = TokenSteps(model, self._cache)
        self._taken = 0

    def read(self, prompts: Tensor) -> Tensor:
        """See :meth:`Decoder.read`."""
        self._taken = 0
        cache = self._cache
        for row in range(cache.rows):
            cache.truncate(row, 0)
        if not cache.rows:
            cache.add_rows(len(prompts))
        return self._model.next_token_logits(prompts.tolist(), cache.all_rows())

    def step(self, tokens: Tensor) -> Tensor:
        """See :meth:`Decoder.step`."""
        logits = self._steps.logits(tokens.tolist())
        self._taken += 1
        if self._taken > 1 and self._captures() and not self._steps.graphs:  # the first step compiles
            raise BenchmarkError("gptapps captured its steps in no CUDA graph.")
        return logits

    def _captures(self) -> bool:
        return self._cache.keys.is_cuda


class TheirDecoder:
    """transformers' model, called once a token, without what ``generate`` does beside."""

    def __init__(self, side: Theirs) -> None:
        self._side = side
        parameters = inspect.signature(getattr(side.model, "_orig_mod", side.model).forward).parameters
        self._name = "cache" if "cache" in parameters else "past_key_values"  # until transformers 5.23
        self._cache: Any = None

    def read(self, prompts: Tensor) -> Tensor:
        """See :meth:`Decoder.read`."""
        from transformers import DynamicCache

        self._cache = DynamicCache()
        return self._behind(prompts)

    def step(self, tokens: Tensor) -> Tensor:
        """See :meth:`Decoder.step`."""
        return self._behind(tokens.unsqueeze(1))

    def _behind(self, tokens: Tensor) -> Tensor:
        given = {self._name: self._cache}
        logits: Tensor = self._side.model(input_ids=tokens, use_cache=True, logits_to_keep=1, **given).logits[:, -1]
        return logits


DECODERS: dict[str, Callable[[Ours], Decoder]] = {
    "gptapps": CachedDecoder,
    "gptapps, CUDA graph": SteppingDecoder,
}
"""gptapps' ways to continue texts, by the name that tables give them; a further way is timed once it stands here."""


class _Model:
    """What :class:`~gptapps.decoding.token_steps.TokenSteps` needs of a language model."""

    def __init__(self, side: Ours) -> None:
        self.backbone, self._head = side.backbone, side.head

    def logits(self, hidden: Tensor) -> Tensor:
        out: Tensor = self._head(hidden)
        return out.float()

    def next_token_logits(self, texts: Sequence[Sequence[int]], rows: CacheRows) -> Tensor:
        tokens = torch.tensor(texts, device=self.backbone.device)
        return self.logits(self.backbone(tokens, cache=rows)[:, -1])


def _new_cache(side: Ours) -> KVCache:
    return KVCache(side.backbone.config, dtype=side.backbone.dtype, device=side.backbone.device)
