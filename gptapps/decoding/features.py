"""Texts through a frozen backbone, up to the highest layer that a head reads, and no vocabulary head.

Symbols: B batch, T tokens, F features.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from gptapps.decoding.language_model import LanguageModel
from gptapps.heads.features import Features
from gptapps.tokenization.batch import TokenBatch

_PADDED_TOKENS = 1024  # of a batch: more would be no faster on a CPU and take more memory


def length_batches(lengths: Sequence[int], *, padded_tokens: int = _PADDED_TOKENS) -> Iterator[list[int]]:
    """Yield the numbers of texts to read together, the longest first, so that little is padding.

    Args:
        lengths: tokens of each text.
        padded_tokens: the most that a batch may have, padding included; a longer text is a batch of its own.

    Example:
        >>> list(length_batches([3, 9, 4], padded_tokens=10))
        [[1], [2, 0]]
    """
    order = sorted(range(len(lengths)), key=lambda number: -lengths[number])
    first = 0
    while first < len(order):
        count = max(1, padded_tokens // lengths[order[first]])
        yield order[first : first + count]
        first += count


@torch.inference_mode()
def read_features(model: LanguageModel, texts: Sequence[Sequence[int]], features: Features) -> Tensor:
    """Return the features (B, F) of a batch of texts, float32 on the CPU.

    Args:
        model: whose backbone reads them.
        texts: token ids of each, at least one.
        features: what of the hidden states is kept.

    Raises:
        InputTooLongError: a text is longer than the model's context.
    """
    batch = TokenBatch.from_lists(texts, device=model.backbone.device)
    lengths = [len(text) for text in texts]
    states = dict(model.backbone.layer_states(batch.ids, features.layers, lengths=lengths))
    return features.pooled(states, lengths).cpu()
