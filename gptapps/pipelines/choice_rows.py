"""The layouts in which data sets keep a question's choices, and how they say which is right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gptapps.errors import DataError
from gptapps.registry import suggestion

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def choice_fields(fields: Mapping[str, object], choices: Sequence[str] = ()) -> dict[str, Any]:
    """Return the fields of a :class:`~gptapps.examples.ChoiceExample`, whichever layout they came in.

    Choices are texts, or come with keys: as ``{"text": […], "label": […]}`` (ARC, OpenBookQA and CommonsenseQA on the
    hub) or as a list of ``{"text": …, "label": …}`` (in their own files). The answer is a choice's key where there
    are keys, or else its text, a capital letter that counts from A, or a number that counts from 0; true and false are
    1 and 0.

    Args:
        fields: name -> value; ``choices`` and ``answer`` are looked at.
        choices: those of a row that brings none.

    Raises:
        DataError: the choices are in another layout, or the answer is none of them.

    Example:
        >>> row = {"question": "2 + 2?", "choices": {"text": ["3", "4"], "label": ["A", "B"]}, "answer": "B"}
        >>> choice_fields(row)
        {'question': '2 + 2?', 'choices': ('3', '4'), 'answer': '4'}
    """
    given = fields.get("choices")
    texts, keys = _texts_and_keys(given) if given is not None else (tuple(choices), ())
    ready = {**fields, "choices": texts}
    if fields.get("answer") is not None:
        ready["answer"] = _answer_text(fields["answer"], texts, keys)
    return ready


def _texts_and_keys(given: object) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if isinstance(given, Mapping) and {"text", "label"} <= given.keys():
        texts, keys = given["text"], given["label"]
    elif isinstance(given, list | tuple) and given and all(isinstance(one, Mapping) for one in given):
        texts, keys = [one.get("text") for one in given], [one.get("label") for one in given]
    else:
        texts, keys = given, []
    if not (_are_texts(texts) and _are_texts(keys) and len(keys) in (0, len(texts))):
        raise DataError(
            "The choices have to be a list of texts, or of texts with their keys, such as "
            '{"text": ["Mars", "Venus"], "label": ["A", "B"]}.'
        )
    return tuple(texts), tuple(key.strip() for key in keys)


def _are_texts(values: object) -> bool:
    return isinstance(values, list | tuple) and all(isinstance(one, str) for one in values)


def _answer_text(answer: object, choices: Sequence[str], keys: Sequence[str]) -> str:
    place = None
    if isinstance(answer, int):
        place = int(answer)
    elif isinstance(answer, str):
        place = _place(answer.strip(), choices, keys)
    if place is None or not 0 <= place < len(choices):
        raise DataError(
            f"The answer {answer!r} is none of the choices.{suggestion(str(answer), choices)} Give a choice's "
            f"{'key' if keys else 'text, or its number from 0'}; there are: {', '.join(keys or choices)}."
        )
    return choices[place]


def _place(answer: str, choices: Sequence[str], keys: Sequence[str]) -> int | None:
    stripped = [choice.strip() for choice in choices]
    if answer in keys:
        return keys.index(answer)
    if answer in stripped:
        return stripped.index(answer)
    if keys:
        return None
    if answer.isdecimal():
        return int(answer)
    return _LETTERS.index(answer) if len(answer) == 1 and answer in _LETTERS else None
