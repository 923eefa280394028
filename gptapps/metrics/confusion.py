"""Labels counted against labels: the confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gptapps.metrics.inputs import check_known, check_pairs, check_texts

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class ConfusionMatrix:
    """How often each label was taken for each.

    Attributes:
        labels: K labels, the names of rows and columns.
        counts: (K, K); ``counts[i, j]`` examples have the reference ``labels[i]`` and the prediction
            ``labels[j]``.
    """

    labels: tuple[str, ...]
    counts: IntArray


def confusion_matrix(
    predictions: Sequence[str], references: Sequence[str], labels: Sequence[str] | None = None
) -> ConfusionMatrix:
    """Count predictions against references, as ``sklearn.metrics.confusion_matrix`` does.

    Args:
        predictions: one label an example.
        references: the right labels.
        labels: the labels there are, in the order wanted; without them, all that occur, sorted.

    Raises:
        DataError: empty input, unequal lengths, something that isn't text, or a label not in ``labels``.

    Example:
        >>> confusion_matrix(["spam", "ham", "ham"], ["spam", "spam", "ham"]).counts.tolist()
        [[1, 0], [1, 1]]
    """
    known, predicted, expected = label_codes(predictions, references, labels)
    size = len(known)
    cells = np.bincount(expected * size + predicted, minlength=size * size)
    return ConfusionMatrix(known, cells.reshape(size, size).astype(np.int64))


def label_codes(
    predictions: Sequence[str], references: Sequence[str], labels: Sequence[str] | None
) -> tuple[tuple[str, ...], IntArray, IntArray]:
    """Return the labels, and predictions and references as positions in them, (N,) each.

    Raises:
        DataError: empty input, unequal lengths, something that isn't text, or a label not in ``labels``.
    """
    check_pairs(predictions, references)
    check_texts(predictions, "Prediction")
    check_texts(references, "Reference")
    if labels is None:
        known = tuple(sorted({*predictions, *references}))
    else:
        known = tuple(labels)
        check_known(predictions, known, "Prediction")
        check_known(references, known, "Reference")
    code = {label: index for index, label in enumerate(known)}
    predicted = np.array([code[label] for label in predictions], dtype=np.int64)
    expected = np.array([code[label] for label in references], dtype=np.int64)
    return known, predicted, expected
