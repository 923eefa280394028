"""Classification by a trained head: one pass over the text, whatever the number of labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from gptapps.decoding.language_model import LanguageModel
from gptapps.errors import CheckpointError, OptionError
from gptapps.examples import ClassificationExample, MultiLabelExample
from gptapps.heads.linear_head import LinearHead
from gptapps.heads.sequence_classification import SequenceClassificationHead
from gptapps.outputs import Classification, Usage
from gptapps.pipelines.base import Setup
from gptapps.pipelines.classification import ClassificationPipeline
from gptapps.pipelines.head_inputs import HeadInput, HeadInputs
from gptapps.pipelines.head_reading import HeadOptions, head_features, trained_head
from gptapps.prompts.adapters import PromptAdapter
from gptapps.task_definition import TaskDefinition


class HeadLabelOptions(HeadOptions, total=False):
    """Options of classification by a trained head."""

    labels: Annotated[Sequence[str], Field(min_length=2, description="the labels that the head was trained for")]


class HeadClassificationPipeline(ClassificationPipeline):
    """Chooses the label that a trained head finds likeliest.

    Example:
        >>> pipeline("classify", model="my-head/")("The server is down.").label      # doctest: +SKIP
    """

    options_type = HeadLabelOptions
    overflows = ("error", "truncate")
    heads = ("sequence_classification",)

    def __init__(self, definition: TaskDefinition, model: LanguageModel, setup: Setup | None = None) -> None:
        super().__init__(definition, model, setup)
        self._head = _fitting_head(definition, model)
        self._inputs = HeadInputs(definition, model)
        require_trained_labels(definition, model, self._defaults)

    def adapter(self, language: str, options: Mapping[str, Any]) -> PromptAdapter:
        """Return what renders the prompts that the head was trained with."""
        return self._inputs.adapter(language)

    def predict(
        self, examples: Iterable[ClassificationExample], options: Mapping[str, Any]
    ) -> Iterator[Classification]:
        """Yield the labels of each example."""
        require_trained_labels(self.definition, self.model, options)
        inputs = (classification_input(self._inputs, one, self.definition.labels, options) for one in examples)
        for read, features in head_features(self.model, self._head, inputs, self.setup.batch_size):
            probabilities = self._head.probabilities(features.unsqueeze(0))[0].tolist()
            yield _classification(self.definition.labels, probabilities, read)


def classification_input(
    inputs: HeadInputs,
    example: ClassificationExample | MultiLabelExample,
    labels: Sequence[str],
    options: Mapping[str, Any],
) -> HeadInput:
    """Return what the backbone reads of a text, or a pair of texts, to be labelled.

    Args:
        inputs: of the task and the model.
        example: which; its label isn't looked at.
        labels: there are.
        options: of the call: ``language`` and ``overflow`` count.

    Raises:
        InputTooLongError: it doesn't fit, with overflow="error".
    """
    return inputs.encode(
        {"text": example.text, "text_pair": example.text_pair, "labels": labels},
        "text",
        language=example.language or options.get("language"),
        overflow=options.get("overflow", "truncate"),
    )


def require_trained_labels(definition: TaskDefinition, model: LanguageModel, options: Mapping[str, Any]) -> None:
    """Refuse labels that the head wasn't trained for.

    Raises:
        OptionError: names those it was.
    """
    given = options.get("labels")
    if given is not None and set(given) != set(definition.labels):
        raise OptionError(
            f"The head of {model.name!r} was trained for the labels {', '.join(definition.labels)}: leave labels out, "
            "or name a model without a trained head."
        )


def _fitting_head(definition: TaskDefinition, model: LanguageModel) -> SequenceClassificationHead:
    head: LinearHead = trained_head(definition, model)
    if not isinstance(head, SequenceClassificationHead) or len(head.bias) != len(definition.labels):
        raise CheckpointError(
            f"The head of {model.name!r} doesn't fit the {len(definition.labels)} labels of its task: train again."
        )
    return head


def _classification(labels: Sequence[str], probabilities: Sequence[float], read: HeadInput) -> Classification:
    ranked = sorted(zip(labels, probabilities, strict=True), key=lambda entry: -entry[1])
    return Classification(
        label=ranked[0][0],
        score=ranked[0][1],
        scores=dict(ranked),
        usage=Usage(input_tokens=len(read.ids), output_tokens=0, dropped_tokens=read.dropped_tokens),
    )
