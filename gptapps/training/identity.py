"""When two examples ask the same: word for word, or but for case, spaces and punctuation."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from gptapps.evaluation.evaluators import Evaluator
from gptapps.evaluation.selection import Item
from gptapps.examples import Example, QuestionExample

_NOT_LETTERS = re.compile(r"[\W_]+")
_ASCII_NOT_LETTERS = {place: None for place in range(128) if not chr(place).isalnum()}
_CONTEXTS = 1024  # questions about one context mostly stand together


@dataclass(frozen=True, slots=True)
class Identity:
    """What an example asks; what is right is no part of it, nor is the prompt's language.

    Attributes:
        exact: as it stands.
        loose: whatever its case, spaces, punctuation and width of characters.
        subject: what it is about, loosely: the context of a question, else all that it asks.
    """

    exact: Hashable
    loose: Hashable
    subject: Hashable


def identities(items: Sequence[Item], evaluator: Evaluator) -> list[Identity]:
    """Return what each example asks."""
    left_out = (evaluator.gold_field, "language")
    fields = [name for name in evaluator.example_type.model_fields if name not in left_out]
    return [_identity(item.example, fields) for item in items]


@lru_cache(maxsize=_CONTEXTS)
def loosened(text: str) -> str:
    """Return a text's letters and digits alone, in one case and width; a text without any as it stands.

    Example:
        >>> loosened("Ｆｉｎｅ, thanks!"), loosened("好的。")
        ('finethanks', '好的')
    """
    if text.isascii():  # many times as fast
        return text.lower().translate(_ASCII_NOT_LETTERS) or text
    return _NOT_LETTERS.sub("", unicodedata.normalize("NFKC", text).casefold()) or text


def _identity(example: Example, fields: Sequence[str]) -> Identity:
    exact = tuple(getattr(example, name) for name in fields)
    loose = tuple(map(_loosened, exact))
    return Identity(exact, loose, loosened(example.context) if isinstance(example, QuestionExample) else loose)


def _loosened(value: object) -> Hashable:
    if isinstance(value, str):
        return loosened(value)
    return tuple(map(_loosened, value)) if isinstance(value, tuple) else None
