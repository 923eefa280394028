"""Labels counted against labels: the confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gptapps.errors import UnknownNameError
from gptapps.metrics.confidence import FloatArray, percentile_interval, resample_counts
from gptapps.metrics.inputs import check_known, check_pairs, check_texts
from gptapps.metrics.score import Score, signature_of
from gptapps.registry import suggestion

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class ConfusionMatrix:
    """How often each label was taken for each, every count with its interval.

    Attributes:
        labels: K labels, the names of rows and columns.
        counts: (K, K); ``counts[i, j]`` examples have the reference ``labels[i]`` and the prediction
            ``labels[j]``.
        low: (K, K), lower bounds of the counts' 95 % bootstrap percentile intervals; None with fewer than two
            examples or ``resamples=0``.
        high: upper bounds, likewise.
        signature: what another person needs to get the same numbers, as ``name|key:value|...``.
    """

    labels: tuple[str, ...]
    counts: IntArray
    low: FloatArray | None
    high: FloatArray | None
    signature: str

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ConfusionMatrix) and self.as_dict() == other.as_dict()

    def __hash__(self) -> int:
        return hash((self.labels, self.counts.tobytes(), self.signature))

    @property
    def n(self) -> int:
        """The number of examples."""
        return int(self.counts.sum())

    def score(self, reference: str, prediction: str) -> Score:
        """Return how many examples with the label ``reference`` were taken for ``prediction``.

        Raises:
            UnknownNameError: there is no such label.
        """
        place = self._place(reference), self._place(prediction)
        return Score(
            name=f"confusion_matrix[{reference}, {prediction}]",
            value=float(self.counts[place]),
            low=None if self.low is None else float(self.low[place]),
            high=None if self.high is None else float(self.high[place]),
            n=self.n,
            signature=self.signature,
            higher_is_better=reference == prediction,
        )

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON knows it."""
        return {
            "labels": list(self.labels),
            "counts": self.counts.tolist(),
            "low": None if self.low is None else self.low.tolist(),
            "high": None if self.high is None else self.high.tolist(),
            "n": self.n,
            "signature": self.signature,
        }

    def _place(self, label: str) -> int:
        if label not in self.labels:
            raise UnknownNameError(
                f"There is no label {label!r}.{suggestion(label, self.labels)} Labels: {', '.join(self.labels)}."
            )
        return self.labels.index(label)


def confusion_matrix(
    predictions: Sequence[str],
    references: Sequence[str],
    labels: Sequence[str] | None = None,
    *,
    seed: int = 0,
    resamples: int = 1000,
) -> ConfusionMatrix:
    """Count predictions against references, as ``sklearn.metrics.confusion_matrix`` does.

    Args:
        predictions: one label an example.
        references: the right labels.
        labels: the labels there are, in the order wanted; without them, all that occur, sorted.
        seed: of the bootstrap; the same seed gives the same intervals.
        resamples: how many times to resample; 0 leaves the intervals out.

    Raises:
        DataError: empty input, unequal lengths, something that isn't text, or a label not in ``labels``.
        OptionError: ``seed`` or ``resamples`` is negative.

    Example:
        >>> matrix = confusion_matrix(["spam", "ham", "ham"], ["spam", "spam", "ham"])
        >>> matrix.counts.tolist()
        [[1, 0], [1, 1]]
        >>> print(matrix.score("spam", "ham").format(digits=0))
        confusion_matrix[spam, ham] = 1 [0, 3] (n = 3)
    """
    known, predicted, expected = label_codes(predictions, references, labels)
    size, n = len(known), len(predicted)
    cells = expected * size + predicted
    counts = np.bincount(cells, minlength=size * size).reshape(size, size).astype(np.int64)
    # Cells that are empty stay so in every resample: only the others are counted.
    occurring, column = np.unique(cells, return_inverse=True)
    drawn = [
        np.bincount(column, weights=row, minlength=len(occurring))
        for rows in resample_counts(n, resamples, seed)
        for row in rows
    ]
    low = high = None
    if n > 1 and drawn:
        bounds = np.zeros((2, size * size))
        bounds[:, occurring] = np.array([percentile_interval(values) for values in np.array(drawn).T]).T
        low, high = bounds.reshape(2, size, size)
    signature = signature_of("confusion_matrix", {"labels": ",".join(known)}, n=n, resamples=resamples, seed=seed)
    return ConfusionMatrix(known, counts, low, high, signature)


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
