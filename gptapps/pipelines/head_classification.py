"""Classification by a trained head: one pass over the text, whatever the number of labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field
from torch import Tensor

from gptapps.decoding.language_model import LanguageModel
from gptapps.decoding.ordering import gathered
from gptapps.errors import CheckpointError, OptionError
from gptapps.examples import ClassificationExample, MultiLabelExample
from gptapps.heads.sequence_classification import MultiLabelHead, SequenceClassificationHead
from gptapps.outputs import Classification, Usage
from gptapps.pipelines.base import Setup
from gptapps.pipelines.classification import ClassificationPipeline
from gptapps.pipelines.head_inputs import HeadInput, HeadInputs
from gptapps.pipelines.head_reading import FeatureReader, HeadOptions, feature_reader, head_features, trained_head
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
        self.reader = feature_reader(model)
        require_trained_labels(definition, model, self._defaults)

    def adapter(self, language: str, options: Mapping[str, Any]) -> PromptAdapter:
        """Return what renders the prompts that the head was trained with."""
        return self._inputs.adapter(language)

    def predict_unordered(
        self, examples: Iterable[ClassificationExample], options: Mapping[str, Any]
    ) -> Iterator[tuple[int, Classification]]:
        """Yield the number and the labels of each example."""
        require_trained_labels(self.definition, self.model, options)
        inputs = (classification_input(self._inputs, one, self.definition.labels, options) for one in examples)
        for number, read, probabilities in read_labels(self.reader, self._head, inputs, self.setup.batch_size):
            yield number, _classification(self.definition.labels, probabilities, read)


def read_labels(
    reader: FeatureReader,
    head: SequenceClassificationHead | MultiLabelHead,
    inputs: Iterable[HeadInput],
    batch_size: int,
) -> Iterator[tuple[int, HeadInput, list[float]]]:
    """Yield each input's number, itself and the probability of each label, as soon as it was read.

    Args:
        reader: reads their features, or knows them already.
        head: knows the labels.
        inputs: an error of theirs is raised once everything before it was yielded.
        batch_size: inputs that are read together.
    """

    def read(several: Iterable[HeadInput]) -> Iterator[tuple[int, Tensor]]:
        return head_features(reader, head, several, batch_size)

    for number, one, (features,) in gathered(inputs, lambda one: (one,), read):
        yield number, one, head.probabilities(features.unsqueeze(0))[0].tolist()


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
    head = trained_head(definition, model)
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
