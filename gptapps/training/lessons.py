"""From an example to what is read and what is learned, through the prompts that the pipeline predicts with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gptapps.decoding.choice_scoring import Choices
from gptapps.decoding.text_scoring import scoring_windows
from gptapps.errors import DataError, OptionError
from gptapps.evaluation.evaluators import Evaluator
from gptapps.evaluation.selection import Item
from gptapps.examples import (
    ChoiceExample,
    ClassificationExample,
    GenerationExample,
    MultiLabelExample,
    QuestionExample,
    ScoringExample,
)
from gptapps.pipelines.base import Pipeline
from gptapps.pipelines.classification import ClassificationPipeline
from gptapps.pipelines.fitting import Piece, fit
from gptapps.pipelines.multi_label import NO_LABEL, MultiLabelPipeline
from gptapps.pipelines.multiple_choice import MultipleChoicePipeline
from gptapps.pipelines.writing import encode_prompt
from gptapps.prompts.adapters import Prompt

_OVERLAP = 64  # tokens that neighbouring windows of a long context share, as when answers are predicted


@dataclass(frozen=True, slots=True)
class Lesson:
    """Token ids that are read, and those behind them that are learned.

    Attributes:
        prompt: at least one id.
        target: at least one id.
        weight: what the target's loss is multiplied by.
    """

    prompt: tuple[int, ...]
    target: tuple[int, ...]
    weight: float = 1.0

    @property
    def read(self) -> int:
        """Tokens that the model reads: all but the last one, behind which nothing is learned."""
        return len(self.prompt) + len(self.target) - 1


class LessonMaker:
    """Makes lessons of a task's examples.

    A prompt that is too long is cut where the pipeline would cut it. A target is never cut.

    Args:
        pipeline: the one that will predict.
        evaluator: of the task's family.
        options: of the pipeline's calls.
        limit: the most tokens that prompt and target may have together.

    Example:
        >>> maker = LessonMaker(pipeline, evaluator, {}, limit=1024)        # doctest: +SKIP
        >>> maker.lessons(items)[0].target                                   # doctest: +SKIP
        (4222, 2)
    """

    def __init__(
        self,
        pipeline: Pipeline[Any, Any],
        evaluator: Evaluator,
        options: Mapping[str, Any],
        *,
        limit: int,
    ) -> None:
        self._pipeline, self._evaluator, self._options = pipeline, evaluator, options
        self._model = pipeline.model
        self._limit = min(limit, self._model.context_length)

    def lessons(self, items: Sequence[Item], weights: Sequence[float] | None = None) -> tuple[Lesson, ...]:
        """Return the lessons of examples, in order; one that teaches nothing the task could say gives none.

        Args:
            items: the examples.
            weights: how much each counts; None for all the same.

        Raises:
            DataError: a target leaves no room for its prompt, or nothing is left to learn; names file and line.
        """
        made: list[Lesson] = []
        for item, weight in zip(items, weights or [1.0] * len(items), strict=True):
            try:
                made += (replace(lesson, weight=lesson.weight * weight) for lesson in self._of(item.example))
            except DataError as error:
                raise DataError(f"{item.where}: {error}") from None
        if not made:
            raise DataError("Nothing is left to learn: no answer stands in its context.")
        return tuple(made)

    def _of(self, example: Any) -> list[Lesson]:
        match example, self._pipeline:
            case ClassificationExample(), ClassificationPipeline():
                return [self._label(example, self._pipeline)]
            case MultiLabelExample(), MultiLabelPipeline():
                return self._labels(example, self._pipeline)
            case ChoiceExample(), MultipleChoicePipeline():
                return [self._choice(example, self._pipeline)]
            case QuestionExample(), _:
                return self._answer(example)
            case ScoringExample(), _:
                return self._text(example)
        gold = self._evaluator.gold(example)
        if not gold:
            raise OptionError(
                f"The task {self._pipeline.definition.id!r} can't be trained this way, because its examples hold "
                "nothing that the model should say."
            )
        return [self._written(example, "text", gold if isinstance(gold, str) else _first(gold))]

    def _label(self, example: ClassificationExample, pipeline: ClassificationPipeline) -> Lesson:
        fields, adapter = self._fields(example), self._adapter(example)
        labels = tuple(fields["labels"])
        wordings = [adapter.wording(label) for label in labels]
        gold = labels.index(str(example.label))
        return self._chosen(fields, "text", lambda prompt: pipeline.encoded_choices(prompt, wordings), adapter, gold)

    def _labels(self, example: MultiLabelExample, pipeline: MultiLabelPipeline) -> list[Lesson]:
        """Return a lesson for each label, which share the example's weight as the labels share the probability."""
        fields, adapter = self._fields(example), self._adapter(example)
        labels = pipeline.candidates(fields["labels"])
        wordings = [adapter.wording(label) for label in labels]
        encode: Callable[[Prompt], Choices] = lambda prompt: pipeline.encoded_choices(prompt, wordings)  # noqa: E731
        golds = tuple(dict.fromkeys(example.label)) or (NO_LABEL,)
        return [
            replace(
                self._chosen({**fields, "labels": labels}, "text", encode, adapter, labels.index(gold)),
                weight=1 / len(golds),
            )
            for gold in golds
            if gold in labels
        ]

    def _choice(self, example: ChoiceExample, pipeline: MultipleChoicePipeline) -> Lesson:
        choices = example.choices or tuple(self._options.get("choices", ()))
        cut = "context" if example.context else "question"
        gold = choices.index(str(example.answer))
        encode: Callable[[Prompt], Choices] = lambda prompt: pipeline.encoded_choices(prompt, choices)  # noqa: E731
        return self._chosen(self._fields(example), cut, encode, self._adapter(example), gold)

    def _chosen(
        self, fields: Mapping[str, Any], cut: str, encode: Callable[[Prompt], Choices], adapter: Any, gold: int
    ) -> Lesson:
        def length(text: str) -> int:
            return _length(encode(adapter.render({**fields, cut: text})))

        encoded = encode(adapter.render(fields))
        if _length(encoded) > self._limit:
            piece = self._fitted(str(fields[cut]), length, room=0, keep_end=cut == "question")[0]
            encoded = encode(adapter.render({**fields, cut: piece.text}))
        return _lesson(encoded.text, encoded.continuations[gold])

    def _answer(self, example: QuestionExample) -> list[Lesson]:
        fields, adapter = self._fields(example), self._adapter(example)
        answer = next((answer for answer in example.answers if answer and answer in example.context), None)
        if answer is None:
            return []
        target = self._spelled(adapter.render(fields), answer)

        def length(text: str) -> int:
            return len(encode_prompt(self._model, adapter.render({**fields, "context": text})))

        pieces = self._fitted(example.context, length, room=len(target), chunk=True)
        holding = [piece for piece in pieces if answer in piece.text]
        if not holding:
            raise DataError(f"no part of the context that fits the {self._limit} tokens of training holds the answer.")
        prompt = adapter.render({**fields, "context": holding[0].text})
        return [_lesson(encode_prompt(self._model, prompt), self._spelled(prompt, answer))]

    def _written(self, example: Any, cut: str, gold: str) -> Lesson:
        fields, adapter = self._fields(example), self._adapter(example)
        target = self._spelled(adapter.render(fields), gold)

        def length(text: str) -> int:
            return len(encode_prompt(self._model, adapter.render({**fields, cut: text})))

        # An instruction mostly stands behind what it is about, so its end is kept, as when it is followed.
        keep_end = isinstance(example, GenerationExample)
        piece = self._fitted(str(fields[cut]), length, room=len(target), keep_end=keep_end)[0]
        prompt = adapter.render({**fields, cut: piece.text})
        return _lesson(encode_prompt(self._model, prompt), self._spelled(prompt, gold))

    def _text(self, example: ScoringExample) -> list[Lesson]:
        tokenizer = self._model.tokenizer
        start = [*self._model.opening, self._model.start_id]
        context = start + tokenizer.encode(example.context, special_tokens=False)
        whole = start + tokenizer.encode(example.context + example.text, special_tokens=False)
        given = min(_shared(whole, context), len(whole) - 1)
        windows = scoring_windows(len(whole), given, self._limit)
        return [_lesson(whole[one.start : one.fresh], whole[one.fresh : one.end]) for one in windows]

    def _spelled(self, prompt: Prompt, gold: str) -> tuple[int, ...]:
        """Return the ids of what should be said behind a prompt, its end included."""
        tokenizer = self._model.tokenizer
        said = prompt.answer_prefix + gold
        before = encode_prompt(self._model, prompt)
        whole = tuple(self._model.encode(prompt.text + said, special_tokens=prompt.special_tokens))
        # The prompt's ids are those of predicting, even where its last characters would go into a token of the answer.
        clean = whole[: len(before)] == before
        ids = whole[len(before) :] if clean else tuple(tokenizer.encode(said, special_tokens=False))
        return (*ids, *tokenizer.eos_ids[:1])

    def _fitted(
        self, text: str, length: Callable[[str], int], *, room: int, chunk: bool = False, keep_end: bool = False
    ) -> tuple[Piece, ...]:
        limit = self._limit - room
        if limit < 1:
            raise DataError(
                f"the target has {room} tokens, and training takes {self._limit} with the prompt: leave the row out, "
                "or allow more with max_length."
            )
        fitted = fit(
            text,
            prompt_length=length,
            tokenizer=self._model.tokenizer,
            limit=limit,
            overflow="chunk" if chunk else "truncate",
            overlap=_OVERLAP if chunk else 0,
            keep_end=keep_end,
        )
        return fitted.pieces

    def _fields(self, example: Any) -> dict[str, Any]:
        definition = self._pipeline.definition
        known = {"labels": definition.labels or None, **self._options}
        own = {name: getattr(example, name, None) for name in definition.family.required + definition.family.optional}
        return {name: known.get(name) if value is None else value for name, value in own.items()}

    def _adapter(self, example: Any) -> Any:
        central = "".join(str(getattr(example, name)) for name in self._pipeline.definition.family.central)
        language = self._pipeline.language_of(example, self._evaluator.prompt_options(self._options), central)
        return self._pipeline.adapter(language, self._options)


def _length(encoded: Choices) -> int:
    return len(encoded.text) + max(map(len, encoded.continuations))


def _lesson(prompt: Sequence[int], target: Sequence[int]) -> Lesson:
    return Lesson(tuple(prompt), tuple(target))


def _first(golds: Sequence[str]) -> str:
    return next((gold for gold in golds if gold.strip()), golds[0])


def _shared(first: Sequence[int], second: Sequence[int]) -> int:
    return next((place for place, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), len(second))
