"""``pipeline(task)``: from a task's name and a model's name to something to call."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Literal, overload

from typing_extensions import TypedDict, Unpack

from gptapps.decoding.language_model import LanguageModel
from gptapps.errors import OptionError
from gptapps.model_store import DEFAULT_MODEL, PACKAGED_MODELS, Progress
from gptapps.pipelines.base import Setup, require_capabilities
from gptapps.pipelines.classification import ClassificationPipeline
from gptapps.pipelines.generation import GenerationPipeline
from gptapps.pipelines.multiple_choice import MultipleChoicePipeline
from gptapps.pipelines.options import (
    AnswerOptions,
    ChoiceOptions,
    ClassificationOptions,
    GenerationOptions,
    ScoringOptions,
    SummaryOptions,
    TranslationOptions,
)
from gptapps.pipelines.question_answering import QuestionAnsweringPipeline
from gptapps.pipelines.scoring import ScoringPipeline
from gptapps.pipelines.summarization import SummarizationPipeline
from gptapps.pipelines.trained import definition_for, pipeline_kind
from gptapps.pipelines.translation import TranslationPipeline


class RuntimeOptions(TypedDict, total=False):
    """Where and how a model runs, and how it is fetched.

    Keys:
        base: for a trained folder, the model it was trained on, where that lies elsewhere now.
        device: such as "cpu" or "cuda:0"; the GPU where there is one.
        dtype: "float32", "bfloat16" or "float16"; bfloat16 on a GPU, else float32.
        low_memory: keep matrices in the 8 or 16 bits that the files have them in, and widen each when it's used.
        threads: of PyTorch, for the whole process.
        batch_size: inputs that are worked on together.
        max_cache_bytes: the most memory for keys and values.
        revision: branch, tag or commit of a hub id.
        offline: fetch nothing.
        progress: called with what is being fetched, bytes done and bytes in all.
    """

    base: str
    device: str
    dtype: str
    low_memory: bool
    threads: int
    batch_size: int
    max_cache_bytes: int
    revision: str
    offline: bool
    progress: Progress


class SetupOptions(RuntimeOptions, total=False):
    """What ``pipeline(...)`` takes for every task, beside the options of the task's calls.

    Keys:
        model: a packaged model's name, a directory, a GGUF file, a hub id, a trained folder, or a loaded LanguageModel.
    """

    model: str | os.PathLike[str] | LanguageModel


class ClassificationSetup(SetupOptions, ClassificationOptions, total=False):
    """Options of ``pipeline("classify", …)``."""


class AnswerSetup(SetupOptions, AnswerOptions, total=False):
    """Options of ``pipeline("answer", …)``."""


class ChoiceSetup(SetupOptions, ChoiceOptions, total=False):
    """Options of ``pipeline("choose", …)``."""


class TranslationSetup(SetupOptions, TranslationOptions, total=False):
    """Options of ``pipeline("translate", …)``."""


class SummarySetup(SetupOptions, SummaryOptions, total=False):
    """Options of ``pipeline("summarize", …)``."""


class GenerationSetup(SetupOptions, GenerationOptions, total=False):
    """Options of ``pipeline("generate", …)``."""


class ScoringSetup(SetupOptions, ScoringOptions, total=False):
    """Options of ``pipeline("score", …)``."""


Classify = Literal["classify", "text-classification", "zero-shot-classification", "sentiment"]
Answering = Literal["answer", "question-answering"]
Choose = Literal["choose", "multiple-choice"]
Translate = Literal["translate", "translation"]
Summarize = Literal["summarize", "summarization"]
Generate = Literal["generate", "text-generation"]
Score = Literal["score"]


@overload
def pipeline(task: Classify, **options: Unpack[ClassificationSetup]) -> ClassificationPipeline: ...
@overload
def pipeline(task: Answering, **options: Unpack[AnswerSetup]) -> QuestionAnsweringPipeline: ...
@overload
def pipeline(task: Choose, **options: Unpack[ChoiceSetup]) -> MultipleChoicePipeline: ...
@overload
def pipeline(task: Translate, **options: Unpack[TranslationSetup]) -> TranslationPipeline: ...
@overload
def pipeline(task: Summarize, **options: Unpack[SummarySetup]) -> SummarizationPipeline: ...
@overload
def pipeline(task: Generate, **options: Unpack[GenerationSetup]) -> GenerationPipeline: ...
@overload
def pipeline(task: Score, **options: Unpack[ScoringSetup]) -> ScoringPipeline: ...
@overload
def pipeline(task: str, **options: Any) -> Any: ...
def pipeline(task: str, **options: Any) -> Any:
    """Return a task on a model, ready to call.

    Args:
        task: a task's name or alias ("summarize", "text-classification", "translation_en_to_fr", …), or the path of
            a task definition of one's own.
        options: :class:`SetupOptions`, and the options of the task's calls, which become the default of each call.

    Returns:
        The task's :class:`~gptapps.pipelines.base.Pipeline`.

    Raises:
        UnknownNameError: no such task; the message suggests the nearest.
        OptionError: an option the task doesn't have.
        ModelError: the model can't be found, fetched, read or used for the task.

    Example:
        >>> summarize = pipeline("summarize")                       # doctest: +SKIP
        >>> summarize("A long text …", max_words=40).text           # doctest: +SKIP
    """
    check_setup(task, options)
    definition = definition_for(task, options.get("model"))
    kind = pipeline_kind(definition)
    setup_names = SetupOptions.__annotations__
    given = {name: value for name, value in options.items() if name in setup_names and value is not None}
    setup = Setup(
        options={name: value for name, value in options.items() if name not in setup_names},
        **{name: given[name] for name in ("batch_size", "max_cache_bytes") if name in given},
    )
    model = given.get("model", DEFAULT_MODEL)
    if not isinstance(model, LanguageModel):
        model = os.fspath(model)
        require_capabilities(definition.id, definition.needs, PACKAGED_MODELS.get(model))
        merged = kind.merged_options(definition, setup.options or {})  # refuse wrong ones before anything is fetched
        if "language" in merged:
            needs = definition.needs_in(merged["language"])
            require_capabilities(definition.id, needs, PACKAGED_MODELS.get(model))
        if "threads" in given:
            set_threads(given["threads"])
        names = ("base", "device", "dtype", "low_memory", "revision", "offline", "progress")
        model = LanguageModel.load(model, **{name: given[name] for name in names if name in given})
    return kind(definition, model, setup)


def check_setup(task: object, options: Mapping[str, object]) -> None:
    """Refuse a task, or an option of :class:`SetupOptions`, of the wrong type.

    Raises:
        OptionError: one sentence naming the option.
    """
    whole = dict.fromkeys(("threads", "batch_size", "max_cache_bytes"), (int, "a whole number"))
    text = dict.fromkeys(("base", "device", "dtype", "revision"), (str, "a text"))
    truth = {"low_memory": (bool, "True or False")}
    model = ((str, os.PathLike, LanguageModel), "a name, a path or a LanguageModel")
    kinds: dict[str, tuple[Any, str]] = {**whole, **text, **truth, "model": model}
    for name, value in options.items():
        kind, called = kinds.get(name, (object, ""))
        if value is not None and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
            raise OptionError(f"The option {name} is {value!r}, but has to be {called}.")
    if not isinstance(task, str | os.PathLike):
        raise OptionError(f"The task is {task!r}, but has to be a name or the path of a definition.")


def set_threads(threads: int) -> None:
    """Let PyTorch use that many threads, in the whole process.

    Raises:
        OptionError: fewer than one.
    """
    import torch

    if threads < 1:
        raise OptionError(f"threads is {threads}, but has to be 1 or above.")
    torch.set_num_threads(threads)
