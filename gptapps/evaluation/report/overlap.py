"""What two texts have in common, found unit by unit: words, or characters where words have no spaces."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import lru_cache
from typing import Literal

from gptapps.metrics.segmentation import words_and_characters

Overlap = Literal["", "same", "elsewhere"]

_WORD_OR_REST = re.compile(r"\w+|\W+")


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of a text.

    Attributes:
        text: the part.
        overlap: ``"same"`` where the other text has it in the same order, ``"elsewhere"`` where it has it at another
            place, ``""`` where it hasn't.
    """

    text: str
    overlap: Overlap


def overlapping(first: str, second: str) -> tuple[list[Stretch], list[Stretch]]:
    """Return both texts in stretches that say what the other one has, too; joined, they are the texts.

    Case and punctuation don't count.

    Example:
        >>> overlapping("The red boat", "A boat, red!")[0][1:]
        [Stretch(text='red', overlap='same'), Stretch(text=' ', overlap=''), Stretch(text='boat', overlap='elsewhere')]
    """
    pieces = _pieces(first), _pieces(second)
    places = [[place for place, (_, unit) in enumerate(side) if unit] for side in pieces]
    units = [[side[place][1] for place in own] for side, own in zip(pieces, places, strict=True)]
    found: tuple[dict[int, Overlap], dict[int, Overlap]] = ({}, {})
    for block in SequenceMatcher(None, units[0], units[1], autojunk=False).get_matching_blocks():
        for offset in range(block.size):
            found[0][places[0][block.a + offset]] = "same"
            found[1][places[1][block.b + offset]] = "same"
    left = [
        Counter(side[place][1] for place in own if place not in seen)
        for side, own, seen in zip(pieces, places, found, strict=True)
    ]
    common = left[0] & left[1]
    for side, own, seen in zip(pieces, places, found, strict=True):
        rest = common.copy()
        for place in own:
            unit = side[place][1]
            if place not in seen and rest[unit] > 0:
                rest[unit] -= 1
                seen[place] = "elsewhere"
    return _joined(pieces[0], found[0]), _joined(pieces[1], found[1])


def _pieces(text: str) -> list[tuple[str, str]]:
    """Return (piece, unit) pairs that make up the text; a piece between units has the unit ``""``."""
    pieces: list[str] = []
    for run in _WORD_OR_REST.findall(text):
        word = ""
        for character in run:
            if word and (_stands_alone(character) or _stands_alone(word[0])):
                pieces.append(word)
                word = ""
            word += character
        pieces.append(word)
    return [(piece, "".join(words_and_characters(piece))) for piece in pieces]


@lru_cache(maxsize=2**12)
def _stands_alone(character: str) -> bool:
    return len(words_and_characters(f"a{character}a")) == 3 and character.isalnum()


def _joined(pieces: list[tuple[str, str]], found: dict[int, Overlap]) -> list[Stretch]:
    stretches: list[Stretch] = []
    for place, (text, unit) in enumerate(pieces):
        overlap = found.get(place, "")
        if not unit and place - 1 in found and found.get(place - 1) == found.get(place + 1):
            overlap = found[place - 1]  # the space between two marked words
        if stretches and stretches[-1].overlap == overlap:
            stretches[-1] = Stretch(stretches[-1].text + text, overlap)
        else:
            stretches.append(Stretch(text, overlap))
    return stretches
