"""Which metrics an evaluation may report, and the language they split text by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gptapps.errors import DataError, OptionError
from gptapps.evaluation.evaluators import Evaluator, Kind
from gptapps.examples import Example
from gptapps.metrics.classification import Accuracy, Brier, CalibrationError, LogLoss
from gptapps.metrics.score import Metric
from gptapps.pipelines.languages import prompt_language
from gptapps.registry import METRICS

_WHATEVER_THE_LABELS = (Accuracy, LogLoss, Brier, CalibrationError)
"""Metrics of labels that don't count label by label."""

_KINDS_OF_MODULE: Mapping[str, tuple[Kind, ...]] = {
    "gptapps.metrics.classification": ("labels",),
    "gptapps.metrics.choices": ("choices",),
    "gptapps.metrics.label_sets": ("label_sets",),
    "gptapps.metrics.answer_matching": ("texts",),
    "gptapps.metrics.bleu": ("texts",),
    "gptapps.metrics.rouge": ("texts",),
    "gptapps.metrics.likelihood": ("likelihoods",),
}


def metrics_for(task: str, evaluator: Evaluator, names: Sequence[str]) -> tuple[Metric, ...]:
    """Return the registered metrics of these names.

    Raises:
        UnknownNameError: one isn't registered.
        OptionError: there is none, one comes twice, or one compares something else than the task gives.
    """
    if not names:
        raise OptionError(f"The task {task!r} names no metrics: give some, such as metrics=['accuracy'].")
    for name in names:
        if names.count(name) > 1:
            raise OptionError(f"The metric {name!r} is asked for more than once: keep one.")
        kinds = _kinds(METRICS.get(name)) or (evaluator.kind,)
        if evaluator.kind not in kinds:
            raise OptionError(
                f"The metric {name!r} compares {kinds[0]}, but the task {task!r} gives {evaluator.kind}: leave it out."
            )
    return tuple(METRICS.get(name) for name in names)


def common_language(evaluator: Evaluator, examples: Sequence[Example], options: Mapping[str, Any]) -> str:
    """Return the one language that metrics take the gold to be in, a language tag.

    It is what the examples say; where they say nothing, Chinese or English, whichever the gold looks like.

    Raises:
        DataError: the examples are in several.
    """
    stated = sorted({language for one in examples if (language := evaluator.text_language(one, options))})
    if len(stated) > 1 and evaluator.kind == "texts":
        raise DataError(
            f"The rows are in several languages ({', '.join(stated)}), and a metric needs one: choose rows with "
            f"where, such as where={{'language': {stated[0]!r}}}, and evaluate one language at a time."
        )
    if len(stated) == 1:
        return stated[0]
    golds = [evaluator.gold(one) or () for one in examples]
    texts = [gold if isinstance(gold, str) else " ".join(gold) for gold in golds]
    return prompt_language(" ".join(texts))


def _kinds(metric: Metric) -> tuple[Kind, ...]:
    """Return what a metric can compare; nothing is known of a plug-in's."""
    if type(metric) in _WHATEVER_THE_LABELS:
        return ("labels", "choices")
    return _KINDS_OF_MODULE.get(type(metric).__module__, ())
