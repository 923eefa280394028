"""Several labels for a text by a trained head, which judges each label by itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from gptapps.decoding.language_model import LanguageModel
from gptapps.errors import CheckpointError
from gptapps.examples import MultiLabelExample
from gptapps.heads.sequence_classification import MultiLabelHead
from gptapps.outputs import Labelling, Usage
from gptapps.pipelines.base import Setup
from gptapps.pipelines.head_classification import (
    HeadLabelOptions,
    classification_input,
    read_labels,
    require_trained_labels,
)
from gptapps.pipelines.head_inputs import HeadInputs
from gptapps.pipelines.head_reading import feature_reader, trained_head
from gptapps.pipelines.multi_label import MultiLabelPipeline, labelling
from gptapps.prompts.adapters import PromptAdapter
from gptapps.task_definition import TaskDefinition


class HeadMultiLabelPipeline(MultiLabelPipeline):
    """Finds every label that a trained head takes for fitting.

    Example:
        >>> pipeline("tag", model="my-head/")("Two hours late.").labels      # doctest: +SKIP
    """

    options_type = HeadLabelOptions
    overflows = ("error", "truncate")
    heads = ("multi_label",)

    def __init__(self, definition: TaskDefinition, model: LanguageModel, setup: Setup | None = None) -> None:
        super().__init__(definition, model, setup)
        head = trained_head(definition, model)
        if not isinstance(head, MultiLabelHead) or len(head.bias) != len(definition.labels):
            raise CheckpointError(
                f"The head of {model.name!r} doesn't fit the {len(definition.labels)} labels of its task: train again."
            )
        self._head = head
        self._inputs = HeadInputs(definition, model)
        self.reader = feature_reader(model)
        require_trained_labels(definition, model, self._defaults)

    def adapter(self, language: str, options: Mapping[str, Any]) -> PromptAdapter:
        """Return what renders the prompts that the head was trained with."""
        return self._inputs.adapter(language)

    def predict_unordered(
        self, examples: Iterable[MultiLabelExample], options: Mapping[str, Any]
    ) -> Iterator[tuple[int, Labelling]]:
        """Yield the number and the labels of each example."""
        require_trained_labels(self.definition, self.model, options)
        labels = self.definition.labels
        inputs = (classification_input(self._inputs, one, labels, options) for one in examples)
        for number, read, probabilities in read_labels(self.reader, self._head, inputs, self.setup.batch_size):
            usage = Usage(input_tokens=len(read.ids), output_tokens=0, dropped_tokens=read.dropped_tokens)
            yield number, labelling(labels, probabilities, usage)
