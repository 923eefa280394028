"""Where sentences end, in English and Chinese, as far as cutting a text well asks for it."""

from __future__ import annotations

import re

# Full-width marks are spelled out, because some editors turn them into their ASCII twins.
_END = re.compile("[.!?]+[\"'”’)\\]]*(?=\\s|$)|[。\uff01\uff1f…]+[”’」』\uff09]*|\\n+")
_OPENING = re.compile('[\\s("“]')
_NO_END = frozenset({"mr", "mrs", "ms", "dr", "prof", "st", "no", "vs", "e.g", "i.e"})
_INITIALS = re.compile(r"[^\W\d_]|(?:[A-Z]\.)+[A-Z]")  # "J", "U.S"


def sentence_ends(text: str) -> list[int]:
    """Return the offset behind each sentence of a text; a line is a sentence, too.

    The last is always the text's length. Abbreviations, initials and URLs end no sentence.

    Example:
        >>> sentence_ends("Dr. Lind came. She left at six.")
        [14, 31]
    """
    ends = []
    start = 0
    for match in _END.finditer(text):
        word = _OPENING.split(text[start : match.start()])[-1]
        if match[0] == "." and (word.lower() in _NO_END or _INITIALS.fullmatch(word)):
            continue
        if text[start : match.end()].strip():
            ends.append(match.end())
        start = match.end()
    return ends if ends and ends[-1] >= len(text.rstrip()) else [*ends, len(text)]
