"""The likelihood of whole texts, token by token, in windows where they are longer than the context."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gptapps.decoding.shared_reading import Choices


@dataclass(frozen=True, slots=True)
class ScoringWindow:
    """Tokens ``start`` to ``end`` of a text, of which those from ``fresh`` on are scored here."""

    start: int
    end: int
    fresh: int


def text_windows(text: Sequence[int], given: int, size: int) -> Iterator[Choices]:
    """Yield a text's windows, each as what it gives to look at and the one continuation to score.

    A text longer than the context is read in windows of the context length that move on by half of it: each
    window scores the tokens that the one before it didn't.

    Args:
        text: ids.
        given: how many tokens at its start are context only; at least 1.
        size: the most tokens a window may have.

    Example:
        >>> [(len(window.text), len(window.continuations[0])) for window in text_windows(range(10), 1, 8)]
        [(1, 7), (4, 2)]
    """
    for window in scoring_windows(len(text), given, size):
        yield Choices(tuple(text[window.start : window.fresh]), (tuple(text[window.fresh : window.end]),))


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
