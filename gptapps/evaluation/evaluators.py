"""From a family's examples and outputs to what its metrics compare: one small class for each family."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from gptapps.errors import DataError, OptionError
from gptapps.examples import (
    ClassificationExample,
    Example,
    QuestionExample,
    ScoringExample,
    SummarizationExample,
    TranslationExample,
)
from gptapps.metrics.calibration import Probabilities
from gptapps.metrics.classification import Brier, CalibrationError, LogLoss
from gptapps.metrics.score import Metric
from gptapps.outputs import Answer, Classification, Likelihood, Output, Summary, Translation
from gptapps.pipelines.base import Pipeline
from gptapps.pipelines.languages import prompt_language
from gptapps.registry import METRICS

Gold = str | tuple[str, ...] | None
"""What is right: a label, texts of which any will do, or nothing where a text is its own reference."""

Kind = Literal["labels", "texts", "likelihoods"]

_KIND_OF_MODULE: Mapping[str, Kind] = {
    "gptapps.metrics.classification": "labels",
    "gptapps.metrics.answer_matching": "texts",
    "gptapps.metrics.bleu": "texts",
    "gptapps.metrics.rouge": "texts",
    "gptapps.metrics.likelihood": "likelihoods",
}


class Evaluator(ABC):
    """How one family is evaluated.

    Attributes:
        example_type, output_type: the family's records.
        kind: what its metrics compare.
        gold_field: the example's field that holds what is right; None where a text is its own reference.
        shot_answer: the key of a worked example that holds its answer; None where there is no such key.
        baselines: what stands beside a model's numbers unless others are asked for.
    """

    example_type: ClassVar[type[Example]]
    output_type: ClassVar[type[Output]]
    kind: ClassVar[Kind] = "texts"
    gold_field: ClassVar[str | None] = None
    shot_answer: ClassVar[str | None] = None
    baselines: ClassVar[tuple[str, ...]] = ()

    def gold(self, example: Example) -> Gold:
        """Return what is right for the example."""
        value: Gold = getattr(example, self.gold_field) if self.gold_field else None
        return value

    def prediction(self, metric: Metric, output: Any) -> Any:
        """Return what ``metric`` compares with the gold; the text of an output, unless a subclass knows better."""
        return output.text

    @abstractmethod
    def shot(self, example: Any, options: Mapping[str, Any]) -> Mapping[str, str]:
        """Return the worked example that a prompt shows, made of an example with its gold.

        Raises:
            DataError: the example holds no gold that could be shown.
            OptionError: the family shows no worked examples.
        """

    def prompt(self, pipeline: Pipeline[Any, Any], example: Any, options: Mapping[str, Any]) -> str:
        """Return the prompt of an example as the model sees it, around the whole text where it reads it in pieces."""
        definition = pipeline.definition
        family = definition.family
        known = {"labels": definition.labels or None, **options}
        own = {name: getattr(example, name, None) for name in family.required + family.optional}
        fields = {name: known.get(name) if value is None else value for name, value in own.items()}
        central = "".join(str(getattr(example, name)) for name in family.central)
        language = pipeline.language_of(example, self.prompt_options(options), central)
        return pipeline.adapter(language, options).render(fields).text

    def prompt_options(self, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the options that choose a prompt's language."""
        return options

    def text_language(self, example: Any, options: Mapping[str, Any]) -> str | None:
        """Return the language of the example's gold where the example says so."""
        return example.language if isinstance(example, Example) else None


class ClassificationEvaluator(Evaluator):
    """Labels, and the probabilities of all of them."""

    example_type = ClassificationExample
    output_type = Classification
    kind = "labels"
    gold_field = "label"
    shot_answer = "label"
    baselines = ("majority_label",)

    def prediction(self, metric: Metric, output: Classification) -> str | Probabilities:
        """Return the label, or every label's probability where the metric judges those."""
        return output.scores if isinstance(metric, LogLoss | Brier | CalibrationError) else output.label

    def shot(self, example: ClassificationExample, options: Mapping[str, Any]) -> Mapping[str, str]:
        """Return text, second text and label."""
        pair = {"text_pair": example.text_pair} if example.text_pair is not None else {}
        return {"text": example.text, **pair, "label": example.label or ""}


class AnswerEvaluator(Evaluator):
    """An answer's text against every answer that is right."""

    example_type = QuestionExample
    output_type = Answer
    gold_field = "answers"
    shot_answer = "answer"
    baselines = ("longest_name", "nearest_sentence")

    def shot(self, example: QuestionExample, options: Mapping[str, Any]) -> Mapping[str, str]:
        """Return question, context and the first answer."""
        answer = _first(example.answers, "answer")
        return {"question": example.question, "context": example.context, "answer": answer}


class TranslationEvaluator(Evaluator):
    """A translation against its references."""

    example_type = TranslationExample
    output_type = Translation
    gold_field = "translations"
    baselines = ("copy_source",)

    def shot(self, example: TranslationExample, options: Mapping[str, Any]) -> Mapping[str, str]:
        """Return the sentence in both languages."""
        source, target = self._languages(example, options)
        return {source: example.text, target: _first(example.translations, "translation")}

    def prompt_options(self, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """The instruction is in English unless told otherwise, whatever the text is in."""
        return {**options, "language": options.get("language") or "en"}

    def prompt(self, pipeline: Pipeline[Any, Any], example: Any, options: Mapping[str, Any]) -> str:
        """Return the prompt with both languages in it."""
        source, target = self._languages(example, options)
        return super().prompt(pipeline, example.model_copy(update={"source": source, "target": target}), options)

    def text_language(self, example: TranslationExample, options: Mapping[str, Any]) -> str | None:
        """Return the target language."""
        return example.target or options.get("target")

    def _languages(self, example: TranslationExample, options: Mapping[str, Any]) -> tuple[str, str]:
        source, target = example.source or options.get("source"), example.target or options.get("target")
        if source is None or target is None:
            raise OptionError("Translation needs both languages: give source and target, or columns that hold them.")
        return source, target


class SummarizationEvaluator(Evaluator):
    """A summary against its references."""

    example_type = SummarizationExample
    output_type = Summary
    gold_field = "summaries"
    shot_answer = "summary"
    baselines = ("lead_1", "lead_3")

    def shot(self, example: SummarizationExample, options: Mapping[str, Any]) -> Mapping[str, str]:
        """Return text and first summary."""
        return {"text": example.text, "summary": _first(example.summaries, "summary")}


class ScoringEvaluator(Evaluator):
    """A text's likelihood; the text is its own reference."""

    example_type = ScoringExample
    output_type = Likelihood
    kind = "likelihoods"
    baselines = ("compression",)

    def prediction(self, metric: Metric, output: Likelihood) -> Likelihood:
        """Return the output as it is."""
        return output

    def shot(self, example: ScoringExample, options: Mapping[str, Any]) -> Mapping[str, str]:
        """Refuse: texts are scored as they stand."""
        raise OptionError("A text is scored as it stands, without worked examples: leave shots out.")

    def prompt(self, pipeline: Pipeline[Any, Any], example: ScoringExample, options: Mapping[str, Any]) -> str:
        """Return what the text stands behind."""
        return example.context


_EVALUATORS: tuple[Evaluator, ...] = (
    ClassificationEvaluator(),
    AnswerEvaluator(),
    TranslationEvaluator(),
    SummarizationEvaluator(),
    ScoringEvaluator(),
)


def evaluator_for(task: str, kind: type[Pipeline[Any, Any]]) -> Evaluator:
    """Return the evaluator of a pipeline, chosen by the examples it takes; a plug-in's among them.

    Raises:
        OptionError: its examples hold no gold.
    """
    for evaluator in _EVALUATORS:
        if issubclass(kind.example_type, evaluator.example_type):
            return evaluator
    raise OptionError(
        f"The task {task!r} can't be evaluated, because its examples hold nothing that says what is right: "
        "evaluate a task of classification, question answering, translation, summarization or scoring."
    )


def evaluator_of(prediction: Mapping[str, Any]) -> Evaluator | None:
    """Return the evaluator whose output has the fields that a run recorded, the one that names most of them."""

    def needed(evaluator: Evaluator) -> set[str]:
        fields = evaluator.output_type.model_fields.items()
        return {name for name, field in fields if field.is_required()} - {"usage"}

    fitting = [evaluator for evaluator in _EVALUATORS if needed(evaluator) <= prediction.keys()]
    return max(fitting, key=lambda evaluator: len(needed(evaluator)), default=None)


def metrics_for(task: str, evaluator: Evaluator, names: Sequence[str]) -> tuple[Metric, ...]:
    """Return the registered metrics of these names.

    Raises:
        UnknownNameError: one isn't registered.
        OptionError: there is none, one comes twice, or one compares something else than the task gives.
    """
    if not names:
        raise OptionError(f"The task {task!r} names no metrics: give some, such as metrics=['accuracy'].")
    for name in names:
        if names.count(name) > 1:
            raise OptionError(f"The metric {name!r} is asked for more than once: keep one.")
        kind = _KIND_OF_MODULE.get(type(METRICS.get(name)).__module__, evaluator.kind)
        if kind != evaluator.kind:
            raise OptionError(
                f"The metric {name!r} compares {kind}, but the task {task!r} gives {evaluator.kind}: leave it out."
            )
    return tuple(METRICS.get(name) for name in names)


def common_language(evaluator: Evaluator, examples: Sequence[Example], options: Mapping[str, Any]) -> str:
    """Return the one language that metrics take the gold to be in, a language tag.

    It is what the examples say; where they say nothing, Chinese or English, whichever the gold looks like.

    Raises:
        DataError: the examples are in several.
    """
    stated = sorted({language for one in examples if (language := evaluator.text_language(one, options))})
    if len(stated) > 1 and evaluator.kind == "texts":
        raise DataError(
            f"The rows are in several languages ({', '.join(stated)}), and a metric needs one: choose rows with "
            f"where, such as where={{'language': {stated[0]!r}}}, and evaluate one language at a time."
        )
    if len(stated) == 1:
        return stated[0]
    golds = [evaluator.gold(one) or () for one in examples]
    texts = [gold if isinstance(gold, str) else " ".join(gold) for gold in golds]
    return prompt_language(" ".join(texts))


def _first(golds: Sequence[str], what: str) -> str:
    if not golds:
        raise DataError(
            f"it holds no {what}, so that it can't be shown as a worked example; take other rows for shots."
        )
    return golds[0]
