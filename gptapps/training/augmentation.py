"""More examples out of those there are: words dropped or swapped, or texts translated there and back.

Source: Wei & Zou 2019, "EDA" (dropping and swapping words); Sennrich et al. 2016 (back-translation). Chinese is taken
character by character. A copy depends on the seed and its own example alone, not on those beside it.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from gptapps.decoding.model_identity import model_identity
from gptapps.errors import OptionError
from gptapps.evaluation.selection import Item
from gptapps.examples import Example, ScoringExample
from gptapps.pipelines.factory import pipeline
from gptapps.pipelines.languages import prompt_language
from gptapps.registry import suggestion

Translate = Callable[[Sequence[str], str, str], Sequence[str]]
"""Texts, the language they are in and the one they are wanted in -> those texts in that language."""

_SHARE = 0.1  # of the words that are dropped or swapped
_PIECES = re.compile(r"\s+|[\u3400-\u9fff]|[^\s\u3400-\u9fff]+")
_PIVOT = {"en": "fr", "zh": "en"}  # the language a text goes through
_CHANGED = ("text", "text_pair", "question")  # not a context: the answer has to stand in it as it is


def word_dropout(text: str, draw: random.Random) -> str:
    """Return a text without about a tenth of its words, at least one and never all of them.

    Example:
        >>> word_dropout("the fog stopped the ferry", random.Random(0))
        'the fog stopped ferry'
    """
    pieces = _PIECES.findall(text)
    words = _words(pieces)
    if len(words) < 2:
        return text
    dropped = set(draw.sample(words, min(_count(words), len(words) - 1)))
    kept = (piece for place, piece in enumerate(pieces) if place not in dropped)
    return re.sub(r"(\s)\s*", r"\1", "".join(kept)).strip()


def word_swap(text: str, draw: random.Random) -> str:
    """Return a text in which about a tenth of the words, at least one, have changed places with the next one.

    Example:
        >>> word_swap("雾停了船", random.Random(0))
        '雾了停船'
    """
    pieces = _PIECES.findall(text)
    words = _words(pieces)
    if len(words) < 2:
        return text
    for place in sorted(draw.sample(range(len(words) - 1), min(_count(words), len(words) - 1))):
        left, right = words[place], words[place + 1]
        pieces[left], pieces[right] = pieces[right], pieces[left]
    return "".join(pieces)


_WAYS: Final[dict[str, Callable[[str, random.Random], str]]] = {"word_dropout": word_dropout, "word_swap": word_swap}
BACK_TRANSLATION: Final = "back_translation"
AUGMENTATIONS: Final = (*_WAYS, BACK_TRANSLATION)
"""The ways there are."""


def augmented(
    items: Sequence[Item], ways: Sequence[str], *, seed: int, copies: int = 1, translate: Translate | None = None
) -> tuple[Item, ...]:
    """Return the examples, and behind them changed copies with the same gold.

    Only for examples to learn from: in validation nothing may be changed.

    Args:
        items: the examples.
        ways: of :data:`AUGMENTATIONS`; each makes copies of its own.
        seed: of what is drawn.
        copies: of each example by each way; back-translation makes one.
        translate: what back-translation translates with; see :func:`translator`.

    Returns:
        A copy that came out like its original, as of a text of one word, is left out.

    Raises:
        OptionError: no such way, fewer than one copy, back-translation without ``translate``, or a task whose texts
            can't be changed because they are what is learned.

    Example:
        >>> item = Item(0, None, "a.csv:2", ClassificationExample(text="The fog stopped the ferry.", label="weather"))
        >>> [copy.example.text for copy in augmented([item], ["word_swap"], seed=0)]
        ['The fog stopped the ferry.', 'The stopped fog the ferry.']
    """
    for way in ways:
        if way not in AUGMENTATIONS:
            raise OptionError(
                f"There is no augmentation {way!r}.{suggestion(way, AUGMENTATIONS)} Known: {', '.join(AUGMENTATIONS)}."
            )
    if copies < 1:
        raise OptionError(f"copies is {copies}, but has to be 1 or above.")
    made = list(items)
    for way in dict.fromkeys(ways):
        if way != BACK_TRANSLATION:
            for copy in range(copies):
                made += _copies(items, [_noisy(item.example, way, f"{seed} {way} {copy}") for item in items])
        elif translate is None:
            raise OptionError("Back-translation needs a model that can translate: name one.")
        else:
            made += _copies(items, _back_translated([item.example for item in items], translate))
    return tuple(made)


def require_changeable(items: Sequence[Item]) -> None:
    """Refuse examples without texts that could be changed.

    Raises:
        OptionError: their texts are what is learned.
    """
    for item in items[:1]:
        _fields(item.example)


def translator(model: str, **options: Any) -> tuple[Translate, Mapping[str, Any]]:
    """Return what translates with a model, and which model that is.

    What it translated once, as for another fold, it remembers.

    Args:
        model: a model that can, such as ``"gemma-3-270m"``.
        options: of ``pipeline("translate", …)``.

    Raises:
        CapabilityError: the model can't.
        ModelError: it can't be found, fetched or read.
    """
    task = pipeline("translate", model=model, **options)
    known: dict[tuple[str, str, str], str] = {}

    def translate(texts: Sequence[str], source: str, target: str) -> Sequence[str]:
        fresh = [text for text in dict.fromkeys(texts) if (text, source, target) not in known]
        outputs = task(fresh, source=source, target=target) if fresh else ()
        known.update(((text, source, target), output.text) for text, output in zip(fresh, outputs, strict=True))
        return [known[text, source, target] for text in texts]

    return translate, model_identity(task.model)


def _fields(example: Example) -> list[str]:
    if isinstance(example, ScoringExample):
        raise OptionError(
            "The texts of this task are what is learned, so they can't be changed: leave augmentation out."
        )
    names = [name for name in _CHANGED if name in type(example).model_fields]
    return [name for name in names if getattr(example, name) is not None]


def _noisy(example: Example, way: str, key: str) -> Example:
    texts = {name: getattr(example, name) for name in _fields(example)}
    draw = random.Random(f"{key} {texts}")
    return example.model_copy(update={name: _WAYS[way](text, draw) for name, text in texts.items()})


def _back_translated(examples: Sequence[Example], translate: Translate) -> list[Example]:
    places: dict[str, list[tuple[int, str]]] = {language: [] for language in _PIVOT}
    for place, example in enumerate(examples):
        for name in _fields(example):
            places[prompt_language(getattr(example, name))].append((place, name))
    made = list(examples)
    for language, pivot in _PIVOT.items():
        texts = [getattr(examples[place], name) for place, name in places[language]]
        there = _translated(texts, language, pivot, translate)
        for (place, name), text in zip(places[language], _translated(there, pivot, language, translate), strict=True):
            if text.strip():
                made[place] = made[place].model_copy(update={name: text})
    return made


def _translated(texts: Sequence[str], source: str, target: str, translate: Translate) -> list[str]:
    """Return the translations; of a text that holds nothing, as one that came to nothing before, itself."""
    some = [text for text in texts if text.strip()]
    found = iter(translate(some, source, target) if some else ())
    return [next(found) if text.strip() else text for text in texts]


def _copies(items: Sequence[Item], examples: Sequence[Example]) -> list[Item]:
    pairs = zip(items, examples, strict=True)
    return [replace(item, example=example) for item, example in pairs if example != item.example]


def _words(pieces: Sequence[str]) -> list[int]:
    return [place for place, piece in enumerate(pieces) if not piece.isspace()]


def _count(words: Sequence[int]) -> int:
    return max(1, round(_SHARE * len(words)))
