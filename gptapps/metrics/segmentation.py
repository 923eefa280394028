"""Languages and the units their text is compared in.

Most scripts put spaces between words; Chinese, Japanese, Thai, Lao, Khmer and Burmese don't, so their
characters are compared one by one.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from gptapps.errors import OptionError

UNSPACED_LANGUAGES = frozenset({"zh", "ja", "th", "lo", "km", "my"})

_TAG = re.compile(r"([A-Za-z]{2,3})([-_][A-Za-z0-9]{1,8})*")

# Three-letter codes under which data sets keep the languages that need something special.
_TWO_LETTERS = {"cmn": "zh", "zho": "zh", "yue": "zh", "jpn": "ja", "kor": "ko", "eng": "en", "tha": "th"}

_UNSPACED_RANGES = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x3005, 0x3007),  # ideographic iteration mark, closing mark, zero
    (0x3040, 0x30FF),  # Hiragana, Katakana
    (0x31F0, 0x31FF),  # Katakana extensions
    (0x3400, 0x4DBF),  # ideographs, extension A
    (0x4E00, 0x9FFF),  # ideographs
    (0xF900, 0xFAFF),  # compatibility ideographs
    (0x20000, 0x3FFFF),  # ideographs, further extensions
)


def primary_language(tag: str) -> str:
    """Return the language of a BCP 47 tag in two lower-case letters where it has two.

    Raises:
        OptionError: ``tag`` doesn't look like a language tag.

    Example:
        >>> primary_language("zh-Hans-CN"), primary_language("pt_BR"), primary_language("cmn")
        ('zh', 'pt', 'zh')
    """
    matched = _TAG.fullmatch(tag)
    if matched is None:
        raise OptionError(f"{tag!r} is no language tag: write it like 'en', 'zh' or 'pt-BR'.")
    code = matched[1].lower()
    return _TWO_LETTERS.get(code, code)


def words_and_characters(text: str) -> list[str]:
    """Split ``text`` into the units it is compared in, in lower case and without punctuation.

    Letters and digits of spaced scripts form words; those of unspaced scripts are units of their own.
    Combining marks stay with what they stand on. Compatibility forms are made one (NFKC), so that full-width
    and half-width letters agree.

    Example:
        >>> words_and_characters("GPT-4 的能力，très élevé!")
        ['gpt', '4', '的', '能', '力', 'très', 'élevé']
    """
    units: list[str] = []
    open_kind = ""
    for character in unicodedata.normalize("NFKC", text).lower():
        kind = _kind(character)
        if open_kind and (kind == "mark" or kind == open_kind == "word"):
            units[-1] += character
        elif kind in ("word", "character"):
            units.append(character)
            open_kind = kind
        else:
            open_kind = ""
    return units


@lru_cache(maxsize=2**16)
def _kind(character: str) -> str:
    if unicodedata.category(character).startswith("M"):
        return "mark"
    if not character.isalnum():
        return "separator"
    point = ord(character)
    return "character" if any(low <= point <= high for low, high in _UNSPACED_RANGES) else "word"
