"""The contract's checks find what is broken: each is tried on a pipeline that breaks one promise."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pytest
import task_checks
from task_checks import sample_rows

from gptapps.decoding.language_model import LanguageModel
from gptapps.errors import DataError
from gptapps.examples import GenerationExample, QuestionExample
from gptapps.outputs import Answer, Generation
from gptapps.pipelines.base import Setup
from gptapps.pipelines.generation import GenerationPipeline
from gptapps.pipelines.question_answering import QuestionAnsweringPipeline
from gptapps.prompts.adapters import PromptAdapter
from gptapps.task_catalog import resolve_task


class Sound(GenerationPipeline):
    """Keeps every promise."""


class CountsNothing(GenerationPipeline):
    def predict(self, examples: Iterable[GenerationExample], options: Mapping[str, Any]) -> Iterator[Generation]:
        for output in super().predict(examples, options):
            yield output.model_copy(update={"usage": output.usage.model_copy(update={"output_tokens": 0})})


class Reverses(GenerationPipeline):
    def predict(self, examples: Iterable[GenerationExample], options: Mapping[str, Any]) -> Iterator[Generation]:
        yield from reversed(list(super().predict(examples, options)))


class LooksAtTheBatch(GenerationPipeline):
    def predict(self, examples: Iterable[GenerationExample], options: Mapping[str, Any]) -> Iterator[Generation]:
        for output in super().predict(examples, options):
            yield output.model_copy(update={"text": output.text + "!" * (self.setup.batch_size - 1)})


class TakesAll(GenerationPipeline):
    def predict(self, examples: Iterable[GenerationExample], options: Mapping[str, Any]) -> Iterator[Generation]:
        taken = [example for example, _ in zip(examples, range(50), strict=False)]
        yield from super().predict(taken, options)


class MixesUp(GenerationPipeline):
    def predict_unordered(
        self, examples: Iterable[GenerationExample], options: Mapping[str, Any]
    ) -> Iterator[tuple[int, Generation]]:
        found = list(super().predict_unordered(examples, options))
        yield from ((number, output) for (number, _), (_, output) in zip(found, reversed(found), strict=True))


class LosesWhatCameBefore(GenerationPipeline):
    def predict(self, examples: Iterable[GenerationExample], options: Mapping[str, Any]) -> Iterator[Generation]:
        yield from super().predict(list(examples), options)


class TakesAnEmptyText(GenerationPipeline):
    def check_example(self, example: GenerationExample) -> None:
        pass


class SaysTwoLines(GenerationPipeline):
    def check_example(self, example: GenerationExample) -> None:
        if not example.text.strip():
            raise DataError("This is\nno sentence.")


class CutsSilently(GenerationPipeline):
    def predict(self, examples: Iterable[GenerationExample], options: Mapping[str, Any]) -> Iterator[Generation]:
        for output in super().predict(examples, {**options, "overflow": "truncate"}):
            yield output.model_copy(update={"usage": output.usage.model_copy(update={"dropped_tokens": 0})})


class Remembers(GenerationPipeline):
    calls = 0

    def predict(self, examples: Iterable[GenerationExample], options: Mapping[str, Any]) -> Iterator[Generation]:
        for output in super().predict(examples, options):
            Remembers.calls += 1
            yield output.model_copy(update={"text": f"{output.text}{Remembers.calls}"})


class IgnoresThePrompt(GenerationPipeline):
    def adapter(self, language: str, options: Mapping[str, Any]) -> PromptAdapter:
        return super().adapter(language, {})


class TakesAnyLanguage(GenerationPipeline):
    def language_of(self, example: GenerationExample, options: Mapping[str, Any], text: str) -> str:
        return "en"


class MisplacesAnswers(QuestionAnsweringPipeline):
    def predict(self, examples: Iterable[QuestionExample], options: Mapping[str, Any]) -> Iterator[Answer]:
        for output in super().predict(examples, options):
            yield output.model_copy(update={"start": output.start + 1})


@pytest.mark.parametrize(
    ("broken", "check"),
    [
        (CountsNothing, task_checks.check_outputs),
        (MisplacesAnswers, task_checks.check_outputs),
        (Reverses, task_checks.check_one_and_many),
        (LooksAtTheBatch, task_checks.check_batches),
        (TakesAll, task_checks.check_stream),
        (MixesUp, task_checks.check_unordered),
        (TakesAnEmptyText, task_checks.check_mistakes),
        (SaysTwoLines, task_checks.check_mistakes),
        (LosesWhatCameBefore, task_checks.check_late_mistake),
        (Remembers, task_checks.check_threads),
        (Remembers, task_checks.check_seeds),
        (CutsSilently, task_checks.check_overflow),
        (IgnoresThePrompt, task_checks.check_prompts),
        (TakesAnyLanguage, task_checks.check_languages),
    ],
)
def test_a_broken_promise_is_found(broken: type[Any], check: Any, chat_model: LanguageModel) -> None:
    definition = resolve_task("answer" if issubclass(broken, QuestionAnsweringPipeline) else "generate")
    pipeline = broken(definition, chat_model, Setup(options={"max_new_tokens": 4}))
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        check(pipeline, sample_rows(definition))


def test_a_sound_pipeline_passes_every_check(chat_model: LanguageModel) -> None:
    definition = resolve_task("generate")
    task_checks.check_task(definition, Sound(definition, chat_model, Setup(options={"max_new_tokens": 4})))


def test_every_check_is_tried() -> None:
    tried = {name for name in vars(task_checks) if name.startswith("check_")} - {"check_task"}
    assert tried == {check.__name__ for check in task_checks.CHECKS}
