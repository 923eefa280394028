"""The likelihood of whole texts, token by token, in windows where they are longer than the context."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from gptapps.decoding.language_model import LanguageModel


@dataclass(frozen=True, slots=True)
class ScoringWindow:
    """Tokens ``start`` to ``end`` of a text, of which those from ``fresh`` on are scored here."""

    start: int
    end: int
    fresh: int


@torch.inference_mode()
def token_log_probabilities(
    model: LanguageModel,
    texts: Sequence[Sequence[int]],
    *,
    given: Sequence[int],
    batch_size: int = 8,
    max_cache_bytes: int | None = None,
) -> list[tuple[float, ...]]:
    """Return the log-probability of each token of each text behind the first ``given``, in nats.

    A text longer than the context is read in windows of the context length that move on by half of it: each
    window scores the tokens that the one before it didn't.

    Args:
        model: which.
        texts: ids.
        given: for each text how many tokens at its start are context only; at least 1.
        batch_size: how many windows are read together.
        max_cache_bytes: bound of the key/value cache.

    Returns:
        For each text ``len(text) - given`` numbers.
    """
    windows = [
        (number, window)
        for number, (text, context) in enumerate(zip(texts, given, strict=True))
        for window in scoring_windows(len(text), context, model.context_length)
    ]
    scores: list[list[float]] = [[] for _ in texts]
    for first in range(0, len(windows), batch_size):
        batch = windows[first : first + batch_size]
        cache = model.new_cache(max_cache_bytes)
        read = [texts[number][window.start : window.end] for number, window in batch]
        hidden = model.read([ids[:-1] for ids in read], cache.add_rows(len(batch)))
        for states, ids, (number, window) in zip(hidden, read, batch, strict=True):
            fresh = slice(window.fresh - window.start - 1, len(ids) - 1)
            targets = torch.tensor(ids[1:], device=states.device)
            scores[number] += model.log_probabilities(states[fresh], targets[fresh]).tolist()
    return [tuple(row) for row in scores]


def scoring_windows(length: int, given: int, size: int) -> list[ScoringWindow]:
    """Return the windows in which a text of ``length`` tokens, the first ``given`` of them context, is scored.

    Args:
        length: tokens of the text, context included.
        given: at least 1.
        size: the most tokens a window may have.

    Example:
        >>> [(window.start, window.end, window.fresh) for window in scoring_windows(10, 1, 8)]
        [(0, 8, 1), (4, 10, 8)]
    """
    windows = []
    fresh, start = given, 0
    while fresh < length:
        end = min(start + size, length)
        if end > fresh:
            windows.append(ScoringWindow(start, end, fresh))
            fresh = end
        start += max(size // 2, 1)
    return windows
