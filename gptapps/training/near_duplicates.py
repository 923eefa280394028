"""Texts that say nearly the same, found by min-hashing their shingles (Broder 1997).

A text is the set of its runs of three words (in Chinese, three characters). The least of a hash over a set is the same
for two sets with the probability of their Jaccard similarity; three such hashes together are a band, and texts that
agree in a band are compared in full.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SIMILARITY = 0.8
"""Jaccard similarity of two texts' shingles from which on they say nearly the same."""

_RUN = 3  # words of a shingle
_FEWEST = 6  # shingles of a text; shorter ones are alike by chance
_MOST_WORDS = 128  # of a text that are looked at
_MOST_ALIKE = 8  # texts in one bucket that are compared
_BANDS, _BAND = 8, 3
_TOKENS = re.compile(r"[\u3400-\u9fff]|[^\W_\u3400-\u9fff]+")

Hashes = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class _Shingled:
    """Texts as the hashes of their shingles: those of text i are ``hashes[starts[i]:starts[i + 1]]``."""

    hashes: Hashes
    starts: NDArray[np.int64]

    def of(self, text: int) -> frozenset[int]:
        """Return the shingles of a text."""
        return frozenset(self.hashes[self.starts[text] : self.starts[text + 1]].tolist())


def near_duplicates(texts: Sequence[str], pool: Sequence[str]) -> Mapping[int, int]:
    """Return the texts that say nearly what one of ``pool`` says, each with the first such.

    Only the first 128 words count; texts of fewer than eight are never near another.

    Args:
        texts: to look for.
        pool: to look in.

    Example:
        >>> near_duplicates(["The ferry to Osby was cancelled today because of thick fog, says the harbour."],
        ...                 ["The ferry to Osby was cancelled today because of thick fog, says the mayor."])
        {0: 0}
    """
    words: dict[str, int] = {}
    mine, theirs = _shingled(texts, words), _shingled(pool, words)
    candidates: dict[int, set[int]] = {}
    places, keys = _bands(mine)
    pool_places, pool_keys = _bands(theirs)
    for band in range(_BANDS):
        order = np.argsort(pool_keys[band], kind="stable")
        ordered = pool_keys[band][order]
        first, last = (np.searchsorted(ordered, keys[band], side=side) for side in ("left", "right"))
        for place in np.flatnonzero(first < last):
            alike = order[first[place] : min(last[place], first[place] + _MOST_ALIKE)]
            candidates.setdefault(int(places[place]), set()).update(pool_places[alike].tolist())
    found = {}
    for text in sorted(candidates):
        near = (one for one in sorted(candidates[text]) if _similarity(mine.of(text), theirs.of(one)) >= SIMILARITY)
        if (nearest := next(near, None)) is not None:
            found[text] = nearest
    return found


def _shingled(texts: Sequence[str], words: dict[str, int]) -> _Shingled:
    """Return the shingles of texts; ``words`` numbers the words as they come."""
    numbers: list[int] = []
    counts = np.zeros(len(texts), dtype=np.int64)
    for place, text in enumerate(texts):
        found = _TOKENS.findall(text.casefold())[:_MOST_WORDS]
        counts[place] = len(found)
        numbers += [words.setdefault(word, len(words) + 1) for word in found]
    ids = np.array(numbers, dtype=np.uint64)
    owner = np.repeat(np.arange(len(texts)), counts)
    whole = owner[: 1 - _RUN] == owner[_RUN - 1 :]  # the run ends in the text it begins in
    first, second, third = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], dtype=np.uint64)
    mixed = (ids[:-2] * first ^ ids[1:-1] * second ^ ids[2:] * third)[whole]
    starts = np.concatenate([[0], np.cumsum(np.maximum(counts - _RUN + 1, 0))])
    return _Shingled(mixed ^ (mixed >> np.uint64(29)), starts)


def _bands(texts: _Shingled) -> tuple[NDArray[np.int64], Hashes]:
    """Return the texts that have enough shingles, and the key of each of their bands (bands, texts)."""
    counts = np.diff(texts.starts)
    places = np.flatnonzero(counts >= _FEWEST)
    keys = np.zeros((_BANDS, len(places)), dtype=np.uint64)
    if not len(places):
        return places, keys
    hashes = texts.hashes[np.repeat(counts >= _FEWEST, counts)]
    starts = np.concatenate([[0], np.cumsum(counts[places])[:-1]])
    draw = np.random.default_rng(0)
    for band in range(_BANDS):
        for _ in range(_BAND):
            factor, shift = draw.integers(1, 2**63, size=2, dtype=np.uint64)
            mixed = (hashes * (factor | np.uint64(1)) + shift) >> np.uint64(16)
            keys[band] = keys[band] * np.uint64(0x100000001B3) ^ np.minimum.reduceat(mixed, starts)
    return places, keys


def _similarity(left: frozenset[int], right: frozenset[int]) -> float:
    return len(left & right) / len(left | right)
