"""Metrics of several labels for each text, equal to scikit-learn's of indicator matrices (tests hold them to it)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from gptapps.errors import DataError
from gptapps.metrics.confidence import FloatArray
from gptapps.metrics.score import AdditiveMetric, mean_of, mean_statistics

Labels = Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelF1(AdditiveMetric[Labels, Labels]):
    """F1 of the labels, 0 to 1; ``sklearn.metrics.f1_score`` of indicator matrices over the labels that occur.

    Args:
        average: ``"micro"`` counts every pair of text and label together; ``"macro"`` is the mean over labels.
    """

    average: Literal["micro", "macro"]

    def statistics(
        self, predictions: Sequence[Labels], references: Sequence[Labels], *, language: str = "en"
    ) -> FloatArray:
        """Right, predicted and expected for each of K labels, (N, 3K)."""
        _check(predictions, references)
        known = sorted({label for labels in (*predictions, *references) for label in labels})
        predicted, expected = _indicators(predictions, known), _indicators(references, known)
        return np.hstack([predicted * expected, predicted, expected])

    def aggregate(self, sums: FloatArray) -> FloatArray:
        """2 right / (predicted + expected); 0 where there is neither: (R, 3K) -> (R,)."""
        right, predicted, expected = np.split(sums, 3, axis=1)
        if self.average == "micro" or not right.shape[1]:
            right, predicted, expected = (x.sum(axis=1, keepdims=True) for x in (right, predicted, expected))
        scores = 2 * right / np.where(predicted + expected > 0, predicted + expected, 1)
        return np.asarray(scores.mean(axis=1))

    def details(self, references: Sequence[Labels], language: str) -> Mapping[str, object]:
        """The average."""
        return {"average": self.average}


@dataclass(frozen=True, slots=True, kw_only=True)
class ExactLabels(AdditiveMetric[Labels, Labels]):
    """The share of texts whose labels are all right and complete, 0 to 1; ``sklearn.metrics.accuracy_score``."""

    name: str = "exact_labels"

    def statistics(
        self, predictions: Sequence[Labels], references: Sequence[Labels], *, language: str = "en"
    ) -> FloatArray:
        """(right, 1) for each text, (N, 2)."""
        _check(predictions, references)
        pairs = zip(predictions, references, strict=True)
        return mean_statistics([float(set(one) == set(other)) for one, other in pairs])

    def aggregate(self, sums: FloatArray) -> FloatArray:
        """Right / texts."""
        return mean_of(sums)


def _check(predictions: Sequence[Labels], references: Sequence[Labels]) -> None:
    if not predictions or len(predictions) != len(references):
        raise DataError(
            f"There are {len(predictions)} predictions and {len(references)} references: give one of each for every "
            "text."
        )
    for name, several in (("Prediction", predictions), ("Reference", references)):
        for number, labels in enumerate(several, 1):
            if isinstance(labels, str) or not all(isinstance(label, str) for label in labels):
                raise DataError(f"{name} {number} is {labels!r}, and a list of labels is wanted.")


def _indicators(several: Sequence[Labels], known: Sequence[str]) -> FloatArray:
    place = {label: number for number, label in enumerate(known)}
    indicators = np.zeros((len(several), len(known)))
    for row, labels in enumerate(several):
        indicators[row, [place[label] for label in labels]] = 1.0
    return indicators


label_f1 = LabelF1(name="label_f1", average="micro")
label_macro_f1 = LabelF1(name="label_macro_f1", average="macro")
exact_labels = ExactLabels()
