"""From a family's examples and outputs to what its metrics compare: one small class for each family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gptapps.errors import DataError, OptionError
from gptapps.evaluation.evaluator import Evaluator, Gold, Kind
from gptapps.examples import (
    ChoiceExample,
    ClassificationExample,
    GenerationExample,
    MultiLabelExample,
    QuestionExample,
    ScoringExample,
    SummarizationExample,
    TranslationExample,
)
from gptapps.metrics.calibration import Probabilities
from gptapps.metrics.choices import AccuracyNorm
from gptapps.metrics.classification import Brier, CalibrationError, LogLoss
from gptapps.metrics.score import Metric
from gptapps.outputs import Answer, Choice, Classification, Generation, Labelling, Likelihood, Summary, Translation
from gptapps.pipelines.base import Pipeline
from gptapps.pipelines.choice_rows import choice_fields
from gptapps.prompts.adapters import Prompt

__all__ = [
    "AnswerEvaluator",
    "ChoiceEvaluator",
    "ClassificationEvaluator",
    "Evaluator",
    "GenerationEvaluator",
    "Gold",
    "Kind",
    "MultiLabelEvaluator",
    "ScoringEvaluator",
    "SummarizationEvaluator",
    "TranslationEvaluator",
    "evaluator_for",
    "evaluator_of",
]


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


class MultiLabelEvaluator(Evaluator):
    """Every label that fits, against those that were found."""

    example_type = MultiLabelExample
    output_type = Labelling
    kind = "label_sets"
    gold_field = "label"

    def fields(self, row: Mapping[str, object], choices: Sequence[str]) -> Mapping[str, object]:
        """Return the labels as a list, where a table's cell holds them with semicolons between."""
        return {**row, "label": self.labels(row.get("label"))}

    def labels(self, value: object) -> list[str]:
        """Return the labels of a list, or of a text with semicolons between them."""
        if isinstance(value, str):
            return [label.strip() for label in value.split(";") if label.strip()]
        return [str(label) for label in value] if isinstance(value, list | tuple) else []

    def prediction(self, metric: Metric, output: Labelling) -> tuple[str, ...]:
        """Return the labels."""
        return output.labels

    def shot(self, example: MultiLabelExample, options: Mapping[str, Any]) -> Mapping[str, str]:
        """Refuse: the labels are judged one by one."""
        raise OptionError("Several labels are judged without worked examples: leave shots out.")

    def rendered(self, pipeline: Pipeline[Any, Any], example: MultiLabelExample, options: Mapping[str, Any]) -> Prompt:
        """Return the prompt around the text."""
        labels = options.get("labels") or pipeline.definition.labels
        fields = {"text": example.text, "text_pair": example.text_pair, "labels": labels}
        language = pipeline.language_of(example, options, example.text)
        return pipeline.adapter(language, options).render(fields)


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


class ChoiceEvaluator(Evaluator):
    """The choice that was taken, against the right one; both by their texts."""

    example_type = ChoiceExample
    output_type = Choice
    kind = "choices"
    gold_field = "answer"
    shot_answer = "answer"
    baselines = ("first_choice", "longest_choice")

    def fields(self, row: Mapping[str, object], choices: Sequence[str]) -> Mapping[str, object]:
        """Return the choices and the right one as texts; one that comes twice, as in CommonsenseQA, counts once."""
        fields = choice_fields(row, choices)
        given = tuple(dict.fromkeys(fields["choices"]))
        if len(given) < 2:
            raise DataError("The question has fewer than two choices: give it more, or leave it out.")
        return {**fields, "choices": given}

    def prediction(self, metric: Metric, output: Choice) -> str | Probabilities:
        """Return what ``metric`` judges: the choice, every choice's share, or the choice that wins by its length."""
        if isinstance(metric, LogLoss | Brier | CalibrationError):
            return output.scores
        if isinstance(metric, AccuracyNorm):
            return metric.chosen(output.log_likelihoods) or output.text
        return output.text

    def shot(self, example: ChoiceExample, options: Mapping[str, Any]) -> Mapping[str, str]:
        """Return question, context and the right choice."""
        context = {"context": example.context} if example.context else {}
        return {"question": example.question, **context, "answer": example.answer or ""}


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

    def rendered(self, pipeline: Pipeline[Any, Any], example: Any, options: Mapping[str, Any]) -> Prompt:
        """Return the prompt with both languages in it."""
        source, target = self._languages(example, options)
        return super().rendered(pipeline, example.model_copy(update={"source": source, "target": target}), options)

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


class GenerationEvaluator(Evaluator):
    """What was written against every completion that is right."""

    example_type = GenerationExample
    output_type = Generation
    gold_field = "completions"

    def shot(self, example: GenerationExample, options: Mapping[str, Any]) -> Mapping[str, str]:
        """Refuse: the text is the whole prompt."""
        raise OptionError("A text to continue stands as it is, without worked examples: leave shots out.")


class ScoringEvaluator(Evaluator):
    """A text's likelihood; the text is its own reference."""

    example_type = ScoringExample
    output_type = Likelihood
    kind = "likelihoods"
    baselines = ("compression",)

    def gold(self, example: Any) -> Gold:
        """Return the text, which no metric looks at: a run's lines shall say what was scored."""
        text: str = example.text
        return text

    def prediction(self, metric: Metric, output: Likelihood) -> Likelihood:
        """Return the output as it is."""
        return output

    def shot(self, example: ScoringExample, options: Mapping[str, Any]) -> Mapping[str, str]:
        """Refuse: texts are scored as they stand."""
        raise OptionError("A text is scored as it stands, without worked examples: leave shots out.")

    def rendered(self, pipeline: Pipeline[Any, Any], example: ScoringExample, options: Mapping[str, Any]) -> Prompt:
        """Return what the text stands behind."""
        return Prompt(example.context, special_tokens=True, answer_prefix="")


_EVALUATORS: tuple[Evaluator, ...] = (
    ClassificationEvaluator(),
    MultiLabelEvaluator(),
    AnswerEvaluator(),
    ChoiceEvaluator(),
    TranslationEvaluator(),
    SummarizationEvaluator(),
    GenerationEvaluator(),
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
        f"The task {task!r} can't be evaluated, because its examples hold nothing that says what is right: evaluate "
        "one of classification, question answering, multiple choice, translation, summarization, generation or scoring."
    )


def evaluator_of(prediction: Mapping[str, Any]) -> Evaluator | None:
    """Return the evaluator whose output has the fields that a run recorded, the one that names most of them."""

    def needed(evaluator: Evaluator) -> set[str]:
        fields = evaluator.output_type.model_fields.items()
        return {name for name, field in fields if field.is_required()} - {"usage"}

    fitting = [evaluator for evaluator in _EVALUATORS if needed(evaluator) <= prediction.keys()]
    return max(fitting, key=lambda evaluator: len(needed(evaluator)), default=None)


def _first(golds: Sequence[str], what: str) -> str:
    if not golds:
        raise DataError(
            f"it holds no {what}, so that it can't be shown as a worked example; take other rows for shots."
        )
    return golds[0]
