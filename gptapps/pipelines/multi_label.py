"""Several labels for a text: those that are likelier behind it than a label is on average.

Shares among labels rank them well and say little about how many fit; a trained head judges each by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, overload

from typing_extensions import Unpack

from gptapps.decoding.language_model import LanguageModel
from gptapps.examples import ClassificationExample, MultiLabelExample
from gptapps.outputs import Labelling, Usage
from gptapps.pipelines.base import Many, Pipeline, Setup
from gptapps.pipelines.classification import ClassificationPipeline
from gptapps.pipelines.options import MultiLabelOptions
from gptapps.task_definition import TaskDefinition

FITTING = 0.5
"""The score from which on a label counts as fitting."""


class MultiLabelPipeline(Pipeline[MultiLabelExample, Labelling]):
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

    def predict(self, examples: Iterable[MultiLabelExample], options: Mapping[str, Any]) -> Iterator[Labelling]:
        """Yield the labels of each example."""
        known = tuple(options.get("labels", self.definition.labels))
        single = (ClassificationExample(**one.model_dump(exclude={"label"})) for one in examples)
        for output in self._shares.predict(single, options):
            # An equal share comes to a score of a half.
            scores = [len(known) * output.scores[label] for label in known]
            yield labelling(known, [score / (1 + score) for score in scores], output.usage)


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
