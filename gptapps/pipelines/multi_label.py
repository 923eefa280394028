"""Several labels for a text: those that are likelier behind it than a label is on average.

Shares among labels rank them well and say little about how many fit, unless the model was trained to share its
probability among those that do; a trained head judges each by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, overload

from typing_extensions import Unpack

from gptapps.decoding.choice_scoring import Choices
from gptapps.decoding.language_model import LanguageModel
from gptapps.examples import ClassificationExample, MultiLabelExample
from gptapps.outputs import Labelling, Usage
from gptapps.pipelines.base import Many, Setup
from gptapps.pipelines.batched import BatchedPipeline
from gptapps.pipelines.classification import ClassificationPipeline
from gptapps.pipelines.options import MultiLabelOptions
from gptapps.prompts.adapters import Prompt
from gptapps.task_definition import TaskDefinition

FITTING = 0.5
"""The score from which on a label counts as fitting."""

NO_LABEL = "none"
"""What a model says of a text that no label fits, where the task has the behaviour ``no_label = "possible"``."""


class MultiLabelPipeline(BatchedPipeline[MultiLabelExample, Labelling]):
    """Finds every label that fits a text.

    Example:
        >>> tag = pipeline("tag", labels=["delay", "comfort", "information"])          # doctest: +SKIP
        >>> tag("Two hours late, and the cabin smelled of diesel.").labels             # doctest: +SKIP
        ('delay', 'comfort')
    """

    example_type = MultiLabelExample
    options_type: ClassVar[type] = MultiLabelOptions

    def __init__(self, definition: TaskDefinition, model: LanguageModel, setup: Setup | None = None) -> None:
        super().__init__(definition, model, setup)
        single = definition.model_copy(update={"pipeline": "classification", "head": "language_model"})
        sizes = Setup(self.setup.batch_size, self.setup.max_cache_bytes)
        self._shares = ClassificationPipeline(single, model, sizes)

    @overload
    def __call__(self, inputs: str | MultiLabelExample, **options: Unpack[MultiLabelOptions]) -> Labelling: ...
    @overload
    def __call__(self, inputs: Many[MultiLabelExample], **options: Unpack[MultiLabelOptions]) -> list[Labelling]: ...
    def __call__(self, inputs: Any, **options: Unpack[MultiLabelOptions]) -> Any:
        """Label one text, or each of a list.

        Args:
            inputs: a text, an example (of a pair, too), or a list of them.
            options: see :class:`~gptapps.pipelines.options.MultiLabelOptions`.

        Raises:
            GPTAppsError: an input, an option or the model can't be used.
        """
        return self.one_or_many(inputs, options)

    def stream(
        self, inputs: Iterable[str | MultiLabelExample], **options: Unpack[MultiLabelOptions]
    ) -> Iterator[Labelling]:
        """Label an iterable lazily and in order, batched inside."""
        return self.run(inputs, options)

    @classmethod
    def check_call(cls, definition: TaskDefinition, options: Mapping[str, Any]) -> None:
        """Refuse to choose among no labels, or labels that can't be told apart."""
        ClassificationPipeline.check_call(definition, options)

    def predict_unordered(
        self, examples: Iterable[MultiLabelExample], options: Mapping[str, Any]
    ) -> Iterator[tuple[int, Labelling]]:
        """Yield the number and the labels of each example."""
        known = tuple(options.get("labels", self.definition.labels))
        candidates = self.candidates(known)
        single = (ClassificationExample(**one.model_dump(exclude={"label"})) for one in examples)
        for number, output in self._shares.predict_unordered(single, {**options, "labels": candidates}):
            # An equal share comes to a score of a half.
            scores = [len(candidates) * output.scores[label] for label in known]
            yield number, labelling(known, [score / (1 + score) for score in scores], output.usage)

    def candidates(self, labels: Sequence[str]) -> tuple[str, ...]:
        """Return what the probability is shared among: the labels, and :data:`NO_LABEL` where there may be none."""
        may_be_none = self.definition.behaviour("no_label") == "possible" and NO_LABEL not in labels
        return (*labels, NO_LABEL) if may_be_none else tuple(labels)

    def encoded_choices(self, prompt: Prompt, wordings: Sequence[str]) -> Choices:
        """Return the ids of a prompt and of each candidate's wording behind it, as they are scored."""
        return self._shares.encoded_choices(prompt, wordings)


def labelling(labels: Sequence[str], scores: Sequence[float], usage: Usage) -> Labelling:
    """Return the output for a text.

    Args:
        labels: those there are.
        scores: of each, 0 to 1.
        usage: of the text.
    """
    ranked = sorted(zip(labels, scores, strict=True), key=lambda entry: -entry[1])
    fitting = {label for label, score in ranked if score > FITTING}
    return Labelling(labels=tuple(label for label in labels if label in fitting), scores=dict(ranked), usage=usage)
