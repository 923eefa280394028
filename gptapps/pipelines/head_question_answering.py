"""Extractive answers by a trained head: one pass over question and context, no generation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor

from gptapps.decoding.language_model import LanguageModel
from gptapps.decoding.ordering import gathered
from gptapps.errors import CheckpointError
from gptapps.examples import QuestionExample
from gptapps.heads.span import SpanHead, place_features
from gptapps.outputs import Answer, Usage
from gptapps.pipelines.base import Setup
from gptapps.pipelines.head_reading import HeadOptions, read_by_length, trained_head, without_foreign_defaults
from gptapps.pipelines.question_answering import QuestionAnsweringPipeline
from gptapps.pipelines.span_inputs import SpanInput, SpanInputs, read_places, trimmed
from gptapps.prompts.adapters import PromptAdapter
from gptapps.task_definition import TaskDefinition

_LOOK_AHEAD = 4  # batches of windows that are taken at once and sorted by length
_LONGEST = 32  # tokens of an answer, where training didn't say


class HeadQuestionAnsweringPipeline(QuestionAnsweringPipeline):
    """Answers with the stretch of the context that a trained head finds likeliest.

    Example:
        >>> pipeline("answer", model="my-head/")(question="Who?", context="Ada wrote it.").text      # doctest: +SKIP
    """

    options_type = HeadOptions
    heads = ("span",)

    def __init__(self, definition: TaskDefinition, model: LanguageModel, setup: Setup | None = None) -> None:
        super().__init__(definition, model, setup)
        head = trained_head(definition, model)
        if not isinstance(head, SpanHead):
            raise CheckpointError(f"The head of {model.name!r} is none that finds answers: train again.")
        self._head = head
        self._inputs = SpanInputs(definition, model, limit=head.limit)
        self._longest = definition.defaults.max_new_tokens or _LONGEST

    @classmethod
    def merged_options(cls, definition: TaskDefinition, options: Mapping[str, object]) -> dict[str, Any]:
        """Return the task's defaults that count here with ``options`` over them."""
        return super().merged_options(without_foreign_defaults(definition, cls.options_type), options)

    def adapter(self, language: str, options: Mapping[str, Any]) -> PromptAdapter:
        """Return what renders the prompts that the head was trained with."""
        return self._inputs.head_inputs.adapter(language)

    def predict_unordered(
        self, examples: Iterable[QuestionExample], options: Mapping[str, Any]
    ) -> Iterator[tuple[int, Answer]]:
        """Yield the number of each example and its answer; windows of a context give the likeliest of their answers."""
        asked = ((example.context, self._windows(example, options)) for example in examples)
        read = partial(read_by_length, read=self._spans, most=self.setup.batch_size * _LOOK_AHEAD)
        for number, (context, windows), found in gathered(asked, itemgetter(1), read):
            yield number, _answer(context, windows, found)

    def _windows(self, example: QuestionExample, options: Mapping[str, Any]) -> list[SpanInput]:
        language, overflow = example.language or options.get("language"), options.get("overflow", "chunk")
        return self._inputs.encode(example.question, example.context, language=language, overflow=overflow)

    def _spans(self, windows: list[SpanInput]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield, for each window, every place's best span's score and end."""
        for places, before in read_places(self.model, windows, self._head.features):
            yield self._head.spans(place_features(places, before), self._longest)


def _answer(context: str, windows: list[SpanInput], found: list[tuple[Tensor, Tensor]]) -> Answer:
    shares = torch.cat([scores for scores, _ in found]).softmax(0)
    best = int(shares.argmax())
    window = 0
    place = best
    while place >= len(windows[window].offsets):
        place -= len(windows[window].offsets)
        window += 1
    offsets = windows[window].offsets
    start, end = trimmed(context, offsets[place][0], offsets[int(found[window][1][place])][1])
    return Answer(
        text=context[start:end],
        score=float(shares[best]),
        start=start,
        end=end,
        usage=Usage(
            input_tokens=sum(len(one.ids) for one in windows),
            output_tokens=0,
            dropped_tokens=windows[0].dropped_tokens,
            chunks=len(windows),
        ),
    )
