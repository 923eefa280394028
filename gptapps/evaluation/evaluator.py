"""What evaluating a family means: the base of :mod:`gptapps.evaluation.evaluators`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from gptapps.examples import Example
from gptapps.metrics.score import Metric
from gptapps.outputs import Output
from gptapps.pipelines.base import Pipeline
from gptapps.prompts.adapters import Prompt

Gold = str | tuple[str, ...] | None
"""What is right: a label, texts of which any will do, or nothing where a text is its own reference."""

Kind = Literal["labels", "label_sets", "choices", "texts", "likelihoods"]
"""What an example is judged by; choices are labels that each example brings itself."""


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

    def fields(self, row: Mapping[str, object], choices: Sequence[str]) -> Mapping[str, object]:
        """Return a row's fields as the example has them, where data sets lay them out in other ways.

        Args:
            row: the example's fields as they stand in the data.
            choices: what the options give to choose from.

        Raises:
            DataError: the row says something that can't be right.
        """
        return row

    def labels(self, value: object) -> list[str]:
        """Return the labels that a row's column of labels holds."""
        return [str(value)]

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
        """Return the text of :meth:`rendered`."""
        return self.rendered(pipeline, example, options).text

    def rendered(self, pipeline: Pipeline[Any, Any], example: Any, options: Mapping[str, Any]) -> Prompt:
        """Return the prompt of an example as the model sees it, around the whole text where it reads it in pieces.

        Args:
            pipeline: that the example is for.
            example: which.
            options: of the pipeline's calls.

        Raises:
            GPTAppsError: the prompt can't be made of the example and the options.
        """
        definition = pipeline.definition
        family = definition.family
        known = {"labels": definition.labels or None, **options}
        own = {name: getattr(example, name, None) for name in family.required + family.optional}
        fields = {name: known.get(name) if value is None else value for name, value in own.items()}
        central = "".join(str(getattr(example, name)) for name in family.central)
        language = pipeline.language_of(example, self.prompt_options(options), central)
        return pipeline.adapter(language, options).render(fields)

    def prompt_options(self, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the options that choose a prompt's language."""
        return options

    def text_language(self, example: Any, options: Mapping[str, Any]) -> str | None:
        """Return the language of the example's gold where the example says so."""
        return example.language if isinstance(example, Example) else None
