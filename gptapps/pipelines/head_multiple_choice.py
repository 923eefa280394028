"""Multiple choice by a trained head, which reads the question with each choice behind it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from operator import itemgetter
from typing import Annotated, Any

import torch
from pydantic import Field

from gptapps.decoding.language_model import LanguageModel
from gptapps.decoding.ordering import gathered
from gptapps.errors import CheckpointError
from gptapps.examples import ChoiceExample
from gptapps.heads.multiple_choice import MultipleChoiceHead
from gptapps.outputs import Choice, Usage
from gptapps.pipelines.base import Setup
from gptapps.pipelines.head_inputs import HeadInput, HeadInputs
from gptapps.pipelines.head_reading import (
    HeadOptions,
    feature_reader,
    head_features,
    trained_head,
    without_foreign_defaults,
)
from gptapps.pipelines.multiple_choice import MultipleChoicePipeline, choices_for
from gptapps.prompts.adapters import PromptAdapter
from gptapps.task_definition import TaskDefinition


class HeadChoiceOptions(HeadOptions, total=False):
    """Options of multiple choice by a trained head."""

    choices: Annotated[
        Sequence[str], Field(min_length=2, description="what to choose from, where an input brings no choices")
    ]


class HeadMultipleChoicePipeline(MultipleChoicePipeline):
    """Takes the choice that a trained head finds likeliest.

    Example:
        >>> pipeline("choose", model="my-head/")(question)      # doctest: +SKIP
    """

    options_type = HeadChoiceOptions
    heads = ("multiple_choice",)

    def __init__(self, definition: TaskDefinition, model: LanguageModel, setup: Setup | None = None) -> None:
        super().__init__(definition, model, setup)
        head = trained_head(definition, model)
        if not isinstance(head, MultipleChoiceHead):
            raise CheckpointError(f"The head of {model.name!r} is none that chooses among candidates: train again.")
        self._head = head
        self._inputs = HeadInputs(definition, model)
        self.reader = feature_reader(model)

    @classmethod
    def merged_options(cls, definition: TaskDefinition, options: Mapping[str, object]) -> dict[str, Any]:
        """Return the task's defaults that count here with ``options`` over them."""
        return super().merged_options(without_foreign_defaults(definition, cls.options_type), options)

    def adapter(self, language: str, options: Mapping[str, Any]) -> PromptAdapter:
        """Return what renders the prompts that the head was trained with."""
        return self._inputs.adapter(language)

    def predict_unordered(
        self, examples: Iterable[ChoiceExample], options: Mapping[str, Any]
    ) -> Iterator[tuple[int, Choice]]:
        """Yield the number of each example and its choice."""
        questions = (self._read_question(example, options) for example in examples)
        read = partial(head_features, self.reader, self._head, batch_size=self.setup.batch_size)
        for number, (choices, inputs), features in gathered(questions, itemgetter(1), read):
            yield number, _choice(choices, self._head.shares(torch.stack(features)).tolist(), inputs)

    def _read_question(
        self, example: ChoiceExample, options: Mapping[str, Any]
    ) -> tuple[tuple[str, ...], list[HeadInput]]:
        choices = choices_for(example, options)
        return choices, choice_inputs(self._inputs, example, choices, options)


def choice_inputs(
    inputs: HeadInputs, example: ChoiceExample, choices: Sequence[str], options: Mapping[str, Any]
) -> list[HeadInput]:
    """Return what the backbone reads: the question, with its context, and each of the choices behind it.

    Args:
        inputs: of the task and the model.
        example: the question.
        choices: its own, or those of the options.
        options: of the call: ``language`` and ``overflow`` count.

    Raises:
        InputTooLongError: it doesn't fit, with overflow="error".
    """
    cut = "context" if example.context else "question"
    return [
        inputs.encode(
            {"question": example.question, "context": example.context},
            cut,
            language=example.language or options.get("language") or inputs.language_of(example.question),
            overflow=options.get("overflow", "truncate"),
            continuation=choice,
        )
        for choice in choices
    ]


def _choice(choices: Sequence[str], shares: Sequence[float], read: Sequence[HeadInput]) -> Choice:
    best = max(range(len(choices)), key=shares.__getitem__)  # of equals the first
    scores = torch.tensor(shares, dtype=torch.float64).exp().tolist()
    ranked = sorted(range(len(choices)), key=lambda place: -shares[place])
    return Choice(
        index=best,
        text=choices[best],
        score=scores[best],
        scores={choices[place]: scores[place] for place in ranked},
        log_likelihoods={},
        usage=Usage(
            input_tokens=sum(len(one.ids) for one in read),
            output_tokens=0,
            dropped_tokens=max(one.dropped_tokens for one in read),
        ),
    )
