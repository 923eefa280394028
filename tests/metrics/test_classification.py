from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st

from gptapps.errors import DataError, OptionError
from gptapps.metrics.classification import (
    F1,
    accuracy,
    brier,
    calibration_error,
    log_loss,
    macro_f1,
    matthews,
    micro_f1,
    weighted_f1,
)
from gptapps.metrics.confidence import bootstrap_values, resample_counts
from gptapps.metrics.confusion import confusion_matrix

# name -> (ours, scikit-learn's of references and predictions)
LABEL_METRICS: dict[str, tuple[Any, Callable[..., float]]] = {
    "accuracy": (accuracy, sklearn.metrics.accuracy_score),
    "macro_f1": (macro_f1, lambda y, p: sklearn.metrics.f1_score(y, p, average="macro")),
    "micro_f1": (micro_f1, lambda y, p: sklearn.metrics.f1_score(y, p, average="micro")),
    "weighted_f1": (weighted_f1, lambda y, p: sklearn.metrics.f1_score(y, p, average="weighted")),
    "matthews": (matthews, sklearn.metrics.matthews_corrcoef),
}
every_label_metric = pytest.mark.parametrize("name", sorted(LABEL_METRICS))

# scikit-learn warns where one label is all there is; here that is a case like any other
pytestmark = pytest.mark.filterwarnings("ignore:A single label was found:UserWarning")

pairs = st.lists(st.tuples(st.sampled_from("abcde"), st.sampled_from("abcde")), min_size=1, max_size=80) | st.lists(
    st.tuples(st.just("a"), st.sampled_from("ab")), min_size=1
)


def split(drawn: list[tuple[str, str]]) -> tuple[list[str], list[str]]:
    predictions, references = zip(*drawn, strict=True)
    return list(predictions), list(references)


@every_label_metric
@given(drawn=pairs)
def test_labels_score_as_in_scikit_learn(name: str, drawn: list[tuple[str, str]]) -> None:
    ours, theirs = LABEL_METRICS[name]
    predictions, references = split(drawn)
    assert ours(predictions, references, resamples=0).value == pytest.approx(theirs(references, predictions), abs=1e-15)


@every_label_metric
@given(drawn=pairs.filter(lambda drawn: len(drawn) > 1))
def test_a_resample_scores_as_scikit_learn_scores_the_examples_in_it(name: str, drawn: list[tuple[str, str]]) -> None:
    ours, theirs = LABEL_METRICS[name]
    predictions, references = split(drawn)
    statistics = ours.statistics(predictions, references)
    values = bootstrap_values(statistics, ours.aggregate, resamples=3, seed=11)
    for value, counts in zip(values, next(resample_counts(len(drawn), 3, 11)), strict=True):
        chosen = np.repeat(np.arange(len(drawn)), counts.astype(int))
        expected = theirs([references[i] for i in chosen], [predictions[i] for i in chosen])
        assert value == pytest.approx(expected, abs=1e-14)


@every_label_metric
@given(drawn=pairs)
def test_labels_named_beforehand_do_not_change_the_value(name: str, drawn: list[tuple[str, str]]) -> None:
    ours, _ = LABEL_METRICS[name]
    closed = replace(ours, labels=("e", "d", "c", "b", "a", "never seen"))
    assert closed(*split(drawn), resamples=0).value == pytest.approx(ours(*split(drawn), resamples=0).value, abs=1e-15)


@every_label_metric
@given(references=st.lists(st.sampled_from("abc"), min_size=2).filter(lambda drawn: len(set(drawn)) > 1))
def test_right_throughout_is_1(name: str, references: list[str]) -> None:
    assert LABEL_METRICS[name][0](references, references).value == 1


@every_label_metric
def test_a_label_outside_the_named_ones_is_refused(name: str) -> None:
    closed = replace(LABEL_METRICS[name][0], labels=("positive", "negative"))
    with pytest.raises(DataError, match=r"^Prediction 2 is the unknown label 'negativ'\. Did you mean 'negative'"):
        closed(["positive", "negativ"], ["positive", "negative"])


def test_matthews_is_0_where_one_side_is_all_the_same_and_minus_1_where_all_is_swapped() -> None:
    assert matthews(["a", "a", "a"], ["a", "b", "b"]).value == 0
    assert matthews(["a", "b"], ["b", "a"]).value == -1


def test_f1_has_three_averages() -> None:
    with pytest.raises(OptionError, match="'macro', 'micro' or 'weighted'"):
        F1(name="f1", average="binary")  # type: ignore[arg-type]


@st.composite
def forecasts(draw: st.DrawFn) -> tuple[list[dict[str, float]], list[str], list[str]]:
    labels = list("abcd"[: draw(st.integers(2, 4))])
    weight = st.floats(0, 1) | st.just(0.0)
    predictions = []
    for _ in range(draw(st.integers(1, 20))):
        weights = np.array([draw(weight) for _ in labels])
        weights[0] += not weights.sum()
        predictions.append(dict(zip(labels, (weights / weights.sum()).tolist(), strict=True)))
    references = draw(st.lists(st.sampled_from(labels), min_size=len(predictions), max_size=len(predictions)))
    return predictions, references, labels


@given(forecasts())
def test_probabilities_score_as_in_scikit_learn(
    drawn: tuple[list[dict[str, float]], list[str], list[str]],
) -> None:
    predictions, references, labels = drawn
    matrix = [[row[label] for label in labels] for row in predictions]
    assert log_loss(predictions, references, resamples=0).value == pytest.approx(
        sklearn.metrics.log_loss(references, matrix, labels=labels), rel=1e-14
    )
    assert brier(predictions, references, resamples=0).value == pytest.approx(
        sklearn.metrics.brier_score_loss(references, matrix, labels=labels), rel=1e-13
    )


@given(forecasts())
def test_probability_scores_stay_in_their_ranges(
    drawn: tuple[list[dict[str, float]], list[str], list[str]],
) -> None:
    predictions, references, labels = drawn
    assert log_loss(predictions, references, resamples=20).value >= 0
    assert 0 <= brier(predictions, references, resamples=20).value <= (1 if len(labels) == 2 else 2) + 1e-12
    assert 0 <= calibration_error(predictions, references, resamples=20).value <= 1 + 1e-12


def test_a_wrong_certainty_costs_much_but_not_everything() -> None:
    score = log_loss([{"a": 1.0, "b": 0.0}], ["b"])
    assert score.value == pytest.approx(52 * np.log(2))


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("ag_news/test", None),
        ("tnews/validation", None),
        ("cola/validation", None),
        ("chnsenticorp/test", None),
        ("rte/validation", None),
        ("sst2/validation", 200),
        ("mrpc/test", 200),
        ("sms_spam/test", 200),
    ],
)
def test_real_data_sets_score_as_in_scikit_learn(read_rows: Callable[..., Any], name: str, limit: int | None) -> None:
    references = [row["label"] for row in read_rows(f"classification/{name}", limit)]
    labels = sorted(set(references))
    majority = max(labels, key=references.count)
    shifted = references[1:] + references[:1]
    systems = {
        "majority": [majority] * len(references),
        "every third of the next row": [
            (b if i % 3 == 0 else a) for i, (a, b) in enumerate(zip(references, shifted, strict=True))
        ],
    }
    for predictions in systems.values():
        for ours, theirs in LABEL_METRICS.values():
            value = ours(predictions, references, resamples=0).value
            assert round(value, 14) == round(float(theirs(references, predictions)), 14)
        counts = confusion_matrix(predictions, references).counts
        assert counts.tolist() == sklearn.metrics.confusion_matrix(references, predictions).tolist()

    weights = np.array(
        [
            [1 + (7 * i + 13 * j) % 11 + 9 * (label == reference and i % 4 > 0) for j, label in enumerate(labels)]
            for i, reference in enumerate(references)
        ]
    )
    matrix = weights / weights.sum(axis=1, keepdims=True)
    forecast = [dict(zip(labels, row, strict=True)) for row in matrix.tolist()]
    expected = sklearn.metrics.log_loss(references, matrix, labels=labels)
    assert round(log_loss(forecast, references, resamples=0).value, 13) == round(expected, 13)
    expected = sklearn.metrics.brier_score_loss(references, matrix, labels=labels)
    assert round(brier(forecast, references, resamples=0).value, 13) == round(expected, 13)
