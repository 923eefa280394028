"""A metric is reported where it compares what the task gives, and nowhere else."""

from __future__ import annotations

import pytest

from gptapps.errors import OptionError
from gptapps.evaluation.evaluators import ChoiceEvaluator, ClassificationEvaluator, Evaluator, ScoringEvaluator
from gptapps.evaluation.measures import metrics_for
from gptapps.outputs import Choice, Usage
from gptapps.registry import METRICS

OF_CHOICES = {"accuracy", "accuracy_norm", "log_loss", "brier", "calibration_error"}


@pytest.mark.parametrize("name", METRICS.names())
def test_choices_have_their_own_metrics(name: str) -> None:
    if name in OF_CHOICES:
        assert metrics_for("choose", ChoiceEvaluator(), [name]) == (METRICS.get(name),)
    else:
        with pytest.raises(OptionError, match=f"The metric '{name}' compares .* but the task 'choose' gives choices"):
            metrics_for("choose", ChoiceEvaluator(), [name])


@pytest.mark.parametrize(
    ("evaluator", "name", "compares"),
    [
        (ClassificationEvaluator(), "accuracy_norm", "choices"),
        (ClassificationEvaluator(), "greedy_accuracy", "likelihoods"),
        (ScoringEvaluator(), "accuracy", "labels"),
    ],
)
def test_a_metric_of_another_family_is_refused(evaluator: Evaluator, name: str, compares: str) -> None:
    with pytest.raises(OptionError, match=f"'{name}' compares {compares}"):
        metrics_for("it", evaluator, [name])


def test_each_metric_sees_the_choice_it_judges() -> None:
    output = Choice(
        index=0,
        text="to",
        score=0.6,
        scores={"to": 0.6, "towards": 0.4},
        log_likelihoods={"to": -2.0, "towards": -3.5},
        usage=Usage(input_tokens=1, output_tokens=2),
    )
    evaluator = ChoiceEvaluator()
    assert evaluator.prediction(METRICS.get("accuracy"), output) == "to"
    assert evaluator.prediction(METRICS.get("accuracy_norm"), output) == "towards"
    assert evaluator.prediction(METRICS.get("brier"), output) == output.scores
