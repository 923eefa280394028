from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st

from gptapps.errors import DataError
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
