"""How good a trained model is on examples with gold: the task's metrics with intervals, baselines beside them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gptapps.decoding.language_model import LanguageModel
from gptapps.evaluation.baselines import Judged, baseline_outputs, scored_by
from gptapps.evaluation.measures import common_language, metrics_for
from gptapps.evaluation.selection import Item
from gptapps.metrics.score import Metric, Score
from gptapps.outputs import Output
from gptapps.pipelines.base import Pipeline, Setup
from gptapps.pipelines.trained import pipeline_kind
from gptapps.task_definition import TaskDefinition
from gptapps.training.data import TrainingData
from gptapps.training.methods import Fitted


@dataclass(frozen=True, slots=True)
class Measured:
    """Scores on examples, and what the baselines reach on the same.

    Attributes:
        scores: one a metric of the task.
        baselines: name -> scores.
    """

    scores: tuple[Score, ...] = ()
    baselines: Mapping[str, tuple[Score, ...]] | None = None


def fitted_pipeline(fitted: Fitted, options: Mapping[str, Any], setup: Setup) -> Pipeline[Any, Any]:
    """Return the pipeline of a trained model, which knows the features of texts that the training has read.

    Args:
        fitted: what was trained.
        options: of the pipeline before training; what the trained one doesn't take any more is left out.
        setup: batch size and memory.
    """
    pipeline = trained_pipeline(fitted.definition, fitted.model, options, setup)
    reader = getattr(fitted, "reader", None)
    if reader is not None:
        pipeline.reader = reader  # type: ignore[attr-defined]  # every pipeline of a head that has one
    return pipeline


def trained_pipeline(
    definition: TaskDefinition, model: LanguageModel, options: Mapping[str, Any], setup: Setup
) -> Pipeline[Any, Any]:
    """Return the pipeline of a definition whose head a model has; see :func:`fitted_pipeline`."""
    kind = pipeline_kind(definition)
    return kind(definition, model, Setup(setup.batch_size, setup.max_cache_bytes, kept(kind, options)))


def kept(kind: type[Pipeline[Any, Any]], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return those options that a pipeline takes."""
    known = kind.options_type.__annotations__
    taken = {name: value for name, value in options.items() if name in known}
    if taken.get("overflow", kind.overflows[0]) not in kind.overflows:
        del taken["overflow"]
    return taken


def measure(pipeline: Pipeline[Any, Any], data: TrainingData, items: Sequence[Item], *, seed: int) -> Measured:
    """Return the task's metrics on ``items``; nothing where there are none, or no metric.

    Args:
        pipeline: of the trained model.
        data: they belong to.
        items: with gold.
        seed: of the bootstrap.
    """
    if not items or not data.task.metrics:
        return Measured()
    scored = _scorer(data, items, seed)
    found = list(pipeline.run([item.example for item in items], {}))
    metrics = metrics_for(data.task.id, data.evaluator, data.task.metrics)
    return Measured(tuple(scored(metric, found) for metric in metrics), baselines_on(data, items, seed=seed))


def baselines_on(data: TrainingData, items: Sequence[Item], *, seed: int) -> dict[str, tuple[Score, ...]]:
    """Return what answers that need no model reach on ``items``, for each metric that says something about them."""
    if not data.task.metrics:
        return {}
    evaluator, examples = data.evaluator, [item.example for item in items]
    scored = _scorer(data, items, seed)
    metrics = metrics_for(data.task.id, evaluator, data.task.metrics)
    seen = Judged(examples, [evaluator.gold(example) for example in examples], data.labels, data.options)
    return {
        name: tuple(
            scored(metric, baseline_outputs(name, evaluator, seen))
            for metric in metrics
            if scored_by(name, metric.name)
        )
        for name in evaluator.baselines
    }


def _scorer(data: TrainingData, items: Sequence[Item], seed: int) -> Callable[[Metric, Sequence[Output]], Score]:
    evaluator, examples = data.evaluator, [item.example for item in items]
    golds = [evaluator.gold(example) for example in examples]
    language = common_language(evaluator, examples, data.options)

    def scored(metric: Metric, found: Sequence[Output]) -> Score:
        predictions = [evaluator.prediction(metric, output) for output in found]
        return metric(predictions, golds, language=language, seed=seed)

    return scored
