"""Learning to label texts from frozen features: layer, pooling and penalty by cross-validation, then the fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Any

import numpy as np
import numpy.typing as npt

from gptapps.evaluation.measures import metrics_for
from gptapps.examples import ClassificationExample, MultiLabelExample
from gptapps.heads.features import Features
from gptapps.heads.linear_head import LinearHead
from gptapps.heads.sequence_classification import MultiLabelHead, SequenceClassificationHead
from gptapps.metrics.classification import F1, Accuracy, Matthews
from gptapps.metrics.confidence import FloatArray, exact_sums
from gptapps.metrics.label_sets import ExactLabels, LabelF1, label_f1
from gptapps.metrics.score import Metric
from gptapps.pipelines.head_classification import classification_input
from gptapps.pipelines.head_inputs import HeadInputs
from gptapps.training.class_weights import example_weights
from gptapps.training.data import TrainingData, gold_labels
from gptapps.training.feature_store import FeatureStore
from gptapps.training.head_method import HeadSettings, as_tensors, feature_store
from gptapps.training.logistic import Scaling, fitted_weights, penalty_scores, rotated
from gptapps.training.methods import Job
from gptapps.training.reading import labels_of
from gptapps.training.ridge import ridge_score
from gptapps.training.selection import Selected, selected, selection_folds, some_of, unselected

_SELECTION_ROWS = 20_000  # more would cost time and change no choice


def learn_classification(job: Job, settings: HeadSettings) -> tuple[LinearHead, str, Mapping[str, Any]]:
    """Learn a head that tells labels apart; see :class:`~gptapps.training.head_method.Learner`."""
    inputs, labels = HeadInputs(job.definition, job.model), job.definition.labels
    texts = [
        classification_input(inputs, item.example, labels, job.data.options).ids
        for item in job.data.train
        if isinstance(item.example, ClassificationExample | MultiLabelExample)
    ]
    store = feature_store(job, settings.features)
    began = monotonic()
    store.read(texts)
    read_seconds = monotonic() - began
    began = monotonic()
    targets, weights = _targets(job, settings)
    metric = criterion_of(job.data)
    chosen, penalty, table = _selected(job, settings, store, texts, targets, weights, metric)
    rows = store.rows(texts, chosen)
    scaling = Scaling.of(rows)
    fitted = fitted_weights(scaling.apply(rows), targets, weights, len(labels), penalty)
    weight, bias = as_tensors(*scaling.undone(*fitted))
    details = {
        "layers": list(chosen.layers),
        "poolings": list(chosen.poolings),
        "penalty": penalty,
        "chosen_by": metric.name,
        "selection": table,
        "examples": len(texts),
        "read_seconds": round(read_seconds, 2),
        "fit_seconds": round(monotonic() - began, 2),
    }
    if targets.ndim == 2:
        return MultiLabelHead(weight, bias, chosen), "multi_label", details
    return SequenceClassificationHead(weight, bias, chosen), "sequence_classification", details


def criterion_of(data: TrainingData) -> Metric:
    """Return what a choice is judged by: the task's first metric of labels, else their accuracy or F1."""
    several = data.evaluator.kind == "label_sets"
    named = metrics_for(data.task.id, data.evaluator, data.task.metrics) if data.task.metrics else ()
    fitting = LabelF1 | ExactLabels if several else Accuracy | F1 | Matthews
    return next((metric for metric in named if isinstance(metric, fitting)), label_f1 if several else Accuracy())


def _targets(job: Job, settings: HeadSettings) -> tuple[npt.NDArray[np.int64], FloatArray]:
    """Return each example's label (N,), or which labels fit it (N, K), and how much it counts (N,)."""
    labels, golds = job.definition.labels, gold_labels(job.data, job.data.train)
    if job.data.evaluator.kind != "label_sets":
        return np.array([labels.index(gold) for gold in golds]), example_weights(golds, settings.class_weights)
    sets = [labels_of(job.data.evaluator.gold(item.example)) for item in job.data.train]
    fits = np.array([[label in one for label in labels] for one in sets], np.int64)
    return fits, np.ones(len(sets))


def _selected(
    job: Job,
    settings: HeadSettings,
    store: FeatureStore,
    texts: Sequence[Sequence[int]],
    targets: npt.NDArray[np.int64],
    weights: FloatArray,
    metric: Metric,
) -> Selected:
    some = some_of(len(texts), _SELECTION_ROWS, job.seed)
    folds = selection_folds(job.data, some, settings.selection_folds, job.seed)
    if not folds:
        return unselected(settings)
    read, aims, counts = [texts[place] for place in some], targets[some], weights[some]
    names = np.array(job.definition.labels)
    fits = aims if aims.ndim == 2 else np.arange(len(names)) == aims[:, None]
    signs = np.where(fits, 1.0, -1.0)

    def said(fitting: npt.NDArray[Any]) -> Any:
        return [tuple(names[row > 0]) for row in fitting] if aims.ndim == 2 else names[fitting.argmax(1)].tolist()

    golds = said(fits)

    def judge(scores: FloatArray) -> float:
        return float(metric.aggregate(exact_sums(metric.statistics(said(scores), golds)))[0])

    def scaled(features: Features) -> npt.NDArray[np.float32]:
        rows = store.rows(read, features)
        return rotated(Scaling.of(rows).apply(rows))

    return selected(
        settings,
        criterion=metric.name,
        by_features=lambda features: ridge_score(scaled(features), signs, counts, folds, judge),
        by_penalty=lambda features: penalty_scores(scaled(features), aims, counts, folds, settings.penalties, judge),
        progress=job.progress,
    )
