"""A pipeline that gptapps doesn't have, on a head of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch

from gptapps.decoding.intake import Intake
from gptapps.decoding.language_model import LanguageModel
from gptapps.examples import Example
from gptapps.outputs import Output, Usage
from gptapps.pipelines.base import Pipeline, Setup
from gptapps.pipelines.fitting import fit
from gptapps.pipelines.options import PromptOptions
from gptapps.registry import HEADS
from gptapps.task_definition import TaskDefinition


class RatingExample(Example):
    """A text to rate, with the rating that people gave it."""

    text: str
    rating: float | None = None


class Rating(Output):
    """A rating between 0 and 1."""

    rating: float


class RatingPipeline(Pipeline[RatingExample, Rating]):
    """Rates texts by the head that the definition names."""

    example_type = RatingExample
    options_type = PromptOptions
    overflows = ("truncate", "error")
    heads = ("rating",)

    def __init__(self, definition: TaskDefinition, model: LanguageModel, setup: Setup | None = None) -> None:
        super().__init__(definition, model, setup)
        self.head = HEADS.get(definition.head)(model.backbone)

    def __call__(self, inputs: Any, **options: Any) -> Any:
        """Rate one text, or each of a list."""
        return self.one_or_many(inputs, options)

    def stream(self, inputs: Iterable[Any], **options: Any) -> Iterator[Rating]:
        """Rate an iterable lazily and in order."""
        return self.run(inputs, options)

    def predict(self, examples: Iterable[RatingExample], options: Mapping[str, Any]) -> Iterator[Rating]:
        """Yield the rating of each example."""
        intake = Intake(self._encoded(example, options) for example in examples)
        while batch := intake.take(self.setup.batch_size):
            yield from self._rated(batch)
        intake.raise_error()

    def _encoded(self, example: RatingExample, options: Mapping[str, Any]) -> tuple[list[int], int]:
        adapter = self.adapter(self.language_of(example, options, example.text), options)

        def encode(text: str) -> list[int]:
            prompt = adapter.render({"text": text})
            return self.model.tokenizer.encode(prompt.text, special_tokens=prompt.special_tokens)

        fitted = fit(
            example.text,
            prompt_length=lambda text: len(encode(text)),
            tokenizer=self.model.tokenizer,
            limit=self.model.context_length,
            overflow=options.get("overflow", "truncate"),
        )
        return encode(fitted.pieces[0].text), fitted.dropped_tokens

    @torch.inference_mode()
    def _rated(self, batch: Sequence[tuple[list[int], int]]) -> Iterator[Rating]:
        texts = [ids for ids, _ in batch]
        hidden = self.model.read(texts)
        last = hidden[torch.arange(len(texts)), [len(ids) - 1 for ids in texts]]
        for rating, (ids, dropped) in zip(self.head(last).tolist(), batch, strict=True):
            yield Rating(rating=rating, usage=Usage(input_tokens=len(ids), output_tokens=1, dropped_tokens=dropped))
