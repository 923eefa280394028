"""Holding generation to a text: the continuation has to be a stretch of it, word for word."""

from __future__ import annotations

import bisect
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import accumulate

from gptapps.errors import DataError
from gptapps.tokenization.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of the text: code-point offsets, ``text[start:end]``."""

    start: int
    end: int


class SubstringConstraint:
    """Allows only continuations that stand in ``text``, from the start of a word to the end of one.

    Works on bytes, so it holds for every tokenizer whatever the borders of its tokens. Letters and digits side
    by side are one word; every Chinese, Japanese or Korean character is a word of its own.

    Args:
        tokenizer: the model's.
        text: what the continuation has to come from.
        end_ids: tokens that end the continuation, allowed at the end of a word.
        leading: what may stand before the first word, such as the space behind "Answer:" in a plain prompt.

    Raises:
        DataError: the text has no word.
    """

    def __init__(self, tokenizer: Tokenizer, text: str, *, end_ids: Collection[int], leading: str = "") -> None:
        self.text = text
        self.bytes = text.encode()
        self.end_ids = frozenset(end_ids)
        self.leading = leading.encode()
        self._ids_by_bytes = tokenizer.ids_by_bytes()
        self._longest = max(map(len, self._ids_by_bytes))
        self.borders = list(accumulate((len(char.encode()) for char in text), initial=0))  # byte of each character
        self.starts = [self.borders[place] for place in range(len(text)) if _word_starts(text, place)]
        self.ends = frozenset(self.borders[place] for place in range(1, len(text) + 1) if _word_ends(text, place))
        self._following: dict[int, Mapping[int, int]] = {}
        if not self.starts:
            raise DataError("The context holds no word that an answer could be: give a context with text.")

    def start(self) -> SubstringState:
        """Return the state before the first token."""
        return SubstringState(self)

    def following(self, position: int) -> Mapping[int, int]:
        """Return the tokens that the text continues with at byte ``position``: id -> byte position behind it."""
        if position not in self._following:
            self._following[position] = self._matches(self.bytes[position : position + self._longest], position)
        return self._following[position]

    def opening(self, position: int) -> Mapping[int, int]:
        """Return the tokens that may begin a continuation at byte ``position``: id -> byte position behind it."""
        window = self.leading + self.bytes[position : position + self._longest]
        return self._matches(window, position - len(self.leading))

    def _matches(self, window: bytes, origin: int) -> dict[int, int]:
        return {
            token: origin + size
            for size in range(1, min(self._longest, len(window)) + 1)
            for token in self._ids_by_bytes.get(window[:size], ())
        }

    def span(self, start: int, end: int) -> Span:
        """Return the code-point offsets of the bytes ``start`` to ``end``."""
        return Span(bisect.bisect_left(self.borders, start), bisect.bisect_left(self.borders, end))


class SubstringState:
    """Where in the text a continuation may stand: every place at which the text reads as generated so far."""

    def __init__(self, constraint: SubstringConstraint) -> None:
        self._constraint = constraint
        self._places: list[tuple[int, int]] = []  # (byte where it began, byte behind the last token)
        self._last_end: tuple[int, int] | None = None
        self._options: dict[int, list[tuple[int, int]]] = {}
        for start in constraint.starts:
            for token, position in constraint.opening(start).items():
                self._options.setdefault(token, []).append((start, position))

    def allowed(self) -> Collection[int]:
        """Return the ids that continue the text, and the end tokens where a word has ended."""
        return self._options.keys() | self._constraint.end_ids if self._ended() else self._options.keys()

    def end(self) -> int | None:
        """Return an end token where a word has ended, else None."""
        return min(self._constraint.end_ids) if self._ended() else None

    def advance(self, token: int) -> None:
        """Keep the places at which the text goes on with ``token``."""
        if token in self._constraint.end_ids:
            return
        self._places = self._options[token]
        if ended := self._ended():
            self._last_end = ended[0]
        self._options = {}
        for start, position in self._places:
            for following, behind in self._constraint.following(position).items():
                self._options.setdefault(following, []).append((start, behind))

    def _ended(self) -> list[tuple[int, int]]:
        """Return the places where a word has ended; what stands before the first word is none."""
        return [(start, behind) for start, behind in self._places if behind > start and behind in self._constraint.ends]

    def span(self) -> Span:
        """Return the first place in the text that reads as generated, up to the last whole word.

        Where not even the first word is whole yet, up to that word's end.

        Raises:
            DataError: nothing was generated.
        """
        if self._last_end is not None:
            return self._constraint.span(*self._last_end)
        if not self._places:
            raise DataError("No answer was generated, so it has no place in the context.")
        start, position = self._places[0]
        return self._constraint.span(start, min(end for end in self._constraint.ends if end >= position))


def _is_word_character(char: str) -> bool:
    return char.isalnum()


def _stands_alone(char: str) -> bool:
    point = ord(char)
    return (
        0x3040 <= point <= 0x30FF
        or 0x3400 <= point <= 0x4DBF
        or 0x4E00 <= point <= 0x9FFF
        or 0xAC00 <= point <= 0xD7AF
        or 0xF900 <= point <= 0xFAFF
        or 0x20000 <= point <= 0x3FFFF
    )


def _word_starts(text: str, place: int) -> bool:
    char = text[place]
    if char.isspace():
        return False
    before = text[place - 1] if place else " "
    return _stands_alone(char) or _stands_alone(before) or not (_is_word_character(char) and _is_word_character(before))


def _word_ends(text: str, place: int) -> bool:
    last = text[place - 1]
    if last.isspace():
        return False
    after = text[place] if place < len(text) else " "
    return _stands_alone(last) or _stands_alone(after) or not (_is_word_character(last) and _is_word_character(after))
