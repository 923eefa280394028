"""Which language an input is in, as far as choosing its prompt goes."""

from __future__ import annotations

_SHARE_OF_LETTERS = 0.3


def prompt_language(text: str) -> str:
    """Return "zh" where at least three letters in ten are Chinese characters, else "en".

    Example:
        >>> prompt_language("今天天气很好。"), prompt_language("It is sunny.")
        ('zh', 'en')
    """
    letters = [char for char in text if char.isalpha()]
    chinese = sum("\u4e00" <= char <= "\u9fff" or "\u3400" <= char <= "\u4dbf" for char in letters)
    kana = sum("\u3040" <= char <= "\u30ff" for char in letters)
    return "zh" if letters and not kana and chinese >= _SHARE_OF_LETTERS * len(letters) else "en"
