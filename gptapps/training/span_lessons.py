"""Where the answers of examples stand among the tokens of their contexts, for whatever learns to find them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from gptapps.errors import DataError, InputTooLongError
from gptapps.evaluation.selection import Item
from gptapps.examples import QuestionExample
from gptapps.pipelines.span_inputs import SpanInput, SpanInputs

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class FoundAnswer:
    """A question whose answer stands in its context.

    Attributes:
        text: question and context, of a long context the first window that holds all of the answer.
        begin, end: the answer's first and last token among those of the context.
        example: the question.
        where: it comes from.
    """

    text: SpanInput
    begin: int
    end: int
    example: QuestionExample
    where: str


def found_answers(items: Sequence[Item], inputs: SpanInputs, language: str | None) -> Iterator[FoundAnswer]:
    """Yield the questions of which an answer stands in the context word for word, in order.

    Args:
        items: the examples.
        inputs: makes their tokens.
        language: of the prompts, where an example names none; None for that of its text.

    Raises:
        DataError: a question leaves no room for its context, or no window holds the whole answer; names file and line.
    """
    for item in items:
        example = item.example
        if not isinstance(example, QuestionExample):
            raise TypeError("answers are found for questions")
        place = answer_place(example)
        if place is None:
            continue
        try:
            windows = inputs.encode(example.question, example.context, language=example.language or language)
        except InputTooLongError as error:
            raise DataError(f"{item.where}: {error}") from None
        held = next(((text, ends) for text in windows if (ends := _ends(text, *place))), None)
        if held is None:
            raise DataError(
                f"{item.where}: no part of the context that fits {inputs.limit:,} tokens holds the whole answer: "
                "shorten the answer or leave the row out."
            )
        yield FoundAnswer(held[0], *held[1], example, item.where)


def require_some(lessons: Iterable[T]) -> list[T]:
    """Return all of them.

    Raises:
        DataError: there are none.
    """
    found = list(lessons)
    if not found:
        raise DataError("No answer stands in its context word for word, so there is nothing to learn: mend the data.")
    return found


def answer_place(example: QuestionExample) -> tuple[int, int] | None:
    """Return where an answer begins and ends in the context: of the first answer that stands there.

    Of several places the first one counts that isn't inside a longer word, or else the first.

    Example:
        >>> answer_place(QuestionExample(question="When?", context="In 2001, on day 1.", answers=("1",)))
        (16, 17)
    """
    for answer in filter(None, map(str.strip, example.answers)):
        places = [found.span() for found in re.finditer(re.escape(answer), example.context)]
        if places:
            return next((place for place in places if _stands_alone(example.context, *place)), places[0])
    return None


def _stands_alone(context: str, start: int, end: int) -> bool:
    before, after = context[:start][-1:], context[end:][:1]
    inside = (before.isalnum() and context[start].isalnum(), after.isalnum() and context[end - 1].isalnum())
    return not any(inside)


def _ends(text: SpanInput, start: int, end: int) -> tuple[int, int] | None:
    """Return the first and the last token of an answer, None where the window doesn't hold all of it."""
    first = next((place for place, (_, after) in enumerate(text.offsets) if after > start), None)
    last = next((place for place, (_, after) in enumerate(text.offsets) if after >= end), None)
    if first is None or last is None or text.offsets[0][0] > start:
        return None
    return first, last
