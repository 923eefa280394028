from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st

from gptapps.errors import DataError, UnknownNameError
from gptapps.metrics import confusion_matrix

# scikit-learn warns where one label is all there is; here that is a case like any other
pytestmark = pytest.mark.filterwarnings("ignore:A single label was found:UserWarning")

pairs = st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("abcd")), min_size=1)


@given(pairs)
def test_counts_are_scikit_learn_s(drawn: list[tuple[str, str]]) -> None:
    predictions, references = (list(side) for side in zip(*drawn, strict=True))
    matrix = confusion_matrix(predictions, references)
    assert matrix.labels == tuple(sorted({*predictions, *references}))
    np.testing.assert_array_equal(matrix.counts, sklearn.metrics.confusion_matrix(references, predictions))
    wanted = ["d", "b", "a", "c", "never"]
    np.testing.assert_array_equal(
        confusion_matrix(predictions, references, wanted).counts,
        sklearn.metrics.confusion_matrix(references, predictions, labels=wanted),
    )


def test_rows_are_references_and_columns_predictions() -> None:
    matrix = confusion_matrix(["ham", "ham"], ["spam", "ham"])
    assert matrix.labels == ("ham", "spam")
    assert matrix.counts.tolist() == [[1, 0], [1, 0]]


@given(pairs, st.integers(0, 3))
def test_each_count_has_the_interval_of_its_own_bootstrap(drawn: list[tuple[str, str]], seed: int) -> None:
    predictions, references = (list(side) for side in zip(*drawn, strict=True))
    matrix = confusion_matrix(predictions, references, seed=seed, resamples=50)
    if len(drawn) == 1:
        assert matrix.low is matrix.high is None
        return
    indices = np.random.default_rng(seed).integers(len(drawn), size=(50, len(drawn)))
    for reference in matrix.labels:
        for prediction in matrix.labels:
            hits = np.array([pair == (prediction, reference) for pair in drawn])
            low, high = np.percentile(hits[indices].sum(axis=1), [2.5, 97.5])
            score = matrix.score(reference, prediction)
            assert (score.value, score.n) == (hits.sum(), len(drawn))
            assert (score.low, score.high) == pytest.approx((low, high))
            assert score.higher_is_better == (reference == prediction)


def test_a_cell_is_a_score_with_a_signature() -> None:
    matrix = confusion_matrix(["ham", "ham", "spam"], ["spam", "ham", "spam"], seed=7)
    score = matrix.score("spam", "ham")
    assert score.name == "confusion_matrix[spam, ham]"
    assert score.signature.startswith("confusion_matrix|labels:ham,spam|n:3|bootstrap:1000|confidence:0.95|seed:7|")
    assert matrix.as_dict()["counts"] == [[1, 0], [1, 1]]
    assert matrix.as_dict()["low"][0][1] == matrix.as_dict()["high"][0][1] == 0.0
    with pytest.raises(UnknownNameError, match=r"^There is no label 'hma'\. Did you mean 'ham'\?"):
        matrix.score("hma", "ham")


def test_without_resamples_there_is_no_interval() -> None:
    matrix = confusion_matrix(["ham", "spam"], ["ham", "ham"], resamples=0)
    assert matrix.low is matrix.high is matrix.score("ham", "spam").low is None


@pytest.mark.parametrize(
    ("predictions", "references", "message"),
    [
        (["pos", "neg"], ["pos", "negative"], r"^Reference 2 is the unknown label 'negative'\. Known: neg, pos\.$"),
        (["pso", "neg"], ["pos", "neg"], r"^Prediction 1 is the unknown label 'pso'\. Did you mean 'pos'\?"),
        (["pos", 1], ["pos", "neg"], r"^Prediction 2 is int, but this metric takes text \(str\)\.$"),
    ],
)
def test_what_is_no_known_label_is_told_with_its_place(
    predictions: list[str], references: list[str], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        confusion_matrix(predictions, references, ("pos", "neg"))
