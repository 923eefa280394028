"""What the pipelines take: one frozen record a task, with the gold answer where there is one."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator

from gptapps.outputs import Record

# A table's cell holds one text where several would be right.
Texts = Annotated[tuple[str, ...], BeforeValidator(lambda given: (given,) if isinstance(given, str) else given)]


class Example(Record):
    """Base of every task's example; ``language`` chooses the prompt, None leaves it to the pipeline."""

    language: str | None = None


class ClassificationExample(Example):
    """A text, or a pair of texts, to label."""

    text: str
    text_pair: str | None = None
    label: str | None = None


class MultiLabelExample(Example):
    """A text, or a pair of texts, and every label that fits it."""

    text: str
    text_pair: str | None = None
    label: Texts = ()


class QuestionExample(Example):
    """A question whose answer stands in the context; several gold answers are equally right."""

    question: str
    context: str
    answers: Texts = ()


class ChoiceExample(Example):
    """A question and the choices to answer it with; ``answer`` is the right one's text.

    A context is what the question is about. Without choices of its own an example gets those of the options.
    """

    question: str
    choices: Texts = ()
    context: str | None = None
    answer: str | None = None


class TranslationExample(Example):
    """A text to translate; ``source`` and ``target`` are language codes such as "en"."""

    text: str
    source: str | None = None
    target: str | None = None
    translations: Texts = ()


class SummarizationExample(Example):
    """A text to summarize; several gold summaries are equally right."""

    text: str
    summaries: Texts = ()


class GenerationExample(Example):
    """A text to continue, or an instruction to follow; several gold completions are equally right."""

    text: str
    completions: Texts = ()


class ScoringExample(Example):
    """A text to score behind a context, or continuations of the text to compare."""

    text: str
    context: str = ""
    continuations: Texts = ()
