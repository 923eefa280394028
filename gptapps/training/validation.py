"""How good a model is while it is trained: the task's own metrics, through the pipeline that will predict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gptapps.decoding.language_model import LanguageModel
from gptapps.evaluation.evaluators import Evaluator
from gptapps.evaluation.measures import common_language, metrics_for
from gptapps.evaluation.selection import Item
from gptapps.pipelines.base import Pipeline, Setup


class Validator:
    """Predicts examples and scores the predictions.

    Args:
        pipeline: whose kind, task and set-up are used.
        model: the one that is trained, in the pipeline's place.
        items: examples with gold, at least one.
        evaluator: of the task's family.
        options: of the pipeline's calls.
        metrics: names; the first one decides.

    Raises:
        OptionError: a metric that doesn't fit the task.
    """

    def __init__(
        self,
        pipeline: Pipeline[Any, Any],
        model: LanguageModel,
        items: Sequence[Item],
        evaluator: Evaluator,
        options: Mapping[str, Any],
        metrics: Sequence[str],
    ) -> None:
        self._pipeline, self._model, self._items = pipeline, model, items
        self._evaluator, self._options = evaluator, options
        self._metrics = metrics_for(pipeline.definition.id, evaluator, metrics)
        examples = [item.example for item in items]
        self._language = common_language(evaluator, examples, options)
        self._golds = [evaluator.gold(example) for example in examples]

    @property
    def decides(self) -> str:
        """Name of the metric that says which model is better."""
        return self._metrics[0].name

    def sign(self) -> int:
        """Return 1 where the larger value of that metric is the better one, else -1."""
        return 1 if self._metrics[0].higher_is_better else -1

    def __call__(self, model: LanguageModel | None = None) -> dict[str, float]:
        """Return the value of each metric, of another model in the first one's place if one is given."""
        setup = Setup(self._pipeline.setup.batch_size, self._pipeline.setup.max_cache_bytes, self._options)
        # A new pipeline: one that was used keeps what it worked out with the weights of then.
        predicting = type(self._pipeline)(self._pipeline.definition, model or self._model, setup)
        outputs = list(predicting.run((item.example for item in self._items), {}))
        scores = {}
        for metric in self._metrics:
            predictions = [self._evaluator.prediction(metric, output) for output in outputs]
            scores[metric.name] = metric(predictions, self._golds, language=self._language, resamples=0).value
        return scores
