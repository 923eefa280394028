"""Inputs longer than the model can hold: refused, cut off, or cut into pieces; never silently."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from gptapps.errors import InputTooLongError
from gptapps.pipelines.options import Overflow
from gptapps.tokenization.tokenizer import Tokenizer

# Lines, sentences, clauses, words. Full-width marks are spelled out: some editors turn them into their ASCII twins.
_BORDERS = tuple(
    map(
        re.compile,
        (
            r"\n\s*",
            "(?<=[.!?])\\s+|(?<=[。\uff01\uff1f])",
            "(?<=[,;:])\\s+|(?<=[\uff0c\uff1b\uff1a、])",
            r"\s+",
        ),
    )
)


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of the input, ``text[start:end]``, whose prompt fits the model."""

    text: str
    start: int


@dataclass(frozen=True, slots=True)
class Fitted:
    """An input made to fit: one piece or more, in order, and how many of its tokens are in none of them."""

    pieces: tuple[Piece, ...]
    dropped_tokens: int


def fit(
    text: str,
    *,
    prompt_length: Callable[[str], int],
    tokenizer: Tokenizer,
    limit: int,
    overflow: Overflow,
    overlap: int = 0,
    keep_end: bool = False,
) -> Fitted:
    """Make ``text`` fit.

    Args:
        text: the part of the prompt that may be cut.
        prompt_length: tokens of the whole prompt around a text.
        tokenizer: the model's.
        limit: the most tokens a prompt may have.
        overflow: "error", "truncate" or "chunk".
        overlap: with "chunk", tokens that neighbouring pieces share.
        keep_end: with "truncate", drop the beginning instead of the end.

    Raises:
        InputTooLongError: with "error"; or no text at all fits beside the rest of the prompt.
    """
    needed = prompt_length(text)
    if needed <= limit:
        return Fitted((Piece(text, 0),), 0)
    if overflow == "error":
        raise InputTooLongError(
            f"The prompt has {needed} tokens, and the model holds {limit} beside what it writes: "
            'shorten the text, or choose overflow="truncate" or "chunk" where the task has them.'
        )
    offsets = tokenizer.offsets(text, special_tokens=False)
    room = limit - prompt_length("")
    if room < 1:
        raise InputTooLongError(
            f"The prompt without the text has {limit - room} tokens, and the model holds {limit} beside what it "
            "writes: shorten the prompt or its shots, or lower max_new_tokens."
        )
    if overflow == "truncate":
        piece = _end_piece(text, offsets, room) if keep_end else _piece(text, offsets, 0, room)
        while prompt_length(piece.text) > limit and room > 1:
            room -= prompt_length(piece.text) - limit
            room = max(room, 1)
            piece = _end_piece(text, offsets, room) if keep_end else _piece(text, offsets, 0, room)
        return Fitted((piece,), len(offsets) - len(tokenizer.encode(piece.text, special_tokens=False)))
    return Fitted(tuple(_pieces(text, offsets, room, overlap, prompt_length, limit)), 0)


def _pieces(
    text: str,
    offsets: list[tuple[int, int]],
    room: int,
    overlap: int,
    prompt_length: Callable[[str], int],
    limit: int,
) -> list[Piece]:
    pieces: list[Piece] = []
    first = 0
    while first < len(offsets):
        take = min(room, len(offsets) - first)
        piece = _piece(text, offsets, first, take)
        while prompt_length(piece.text) > limit and take > 1:  # tokens at a cut may come out differently
            take = max(take - (prompt_length(piece.text) - limit), 1)
            piece = _piece(text, offsets, first, take)
        end = len(text) if first + take >= len(offsets) else _border(text, piece.start, piece.start + len(piece.text))
        pieces.append(Piece(text[piece.start : end], piece.start))
        # A token may stand on both sides of the border: it is read again.
        following = next((place for place in range(first, len(offsets)) if offsets[place][1] > end), len(offsets))
        if following >= len(offsets):
            break
        first = max(following - overlap, first + 1)
    return pieces


def _border(text: str, start: int, end: int) -> int:
    """Return the best place to cut in the second half of ``text[start:end]``: line, sentence, clause or word."""
    middle = (start + end) // 2
    for pattern in _BORDERS:
        places = [match.end() for match in pattern.finditer(text, middle, end) if start < match.end() <= end]
        if places:
            return places[-1]
    return end


def _piece(text: str, offsets: list[tuple[int, int]], first: int, count: int) -> Piece:
    start = offsets[first][0] if first else 0
    return Piece(text[start : offsets[first + count - 1][1]], start)


def _end_piece(text: str, offsets: list[tuple[int, int]], count: int) -> Piece:
    start = offsets[len(offsets) - count][0]
    return Piece(text[start:], start)
