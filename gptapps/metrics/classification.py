"""Metrics of labels and of their probabilities, equal to scikit-learn's (tests hold them to it).

Each is computed from counts that add up over the examples rather than by scikit-learn itself: a bootstrap is
then one matrix product, and scikit-learn is not imported to count labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from gptapps.errors import OptionError
from gptapps.metrics.calibration import (
    Probabilities,
    bin_edges,
    bin_positions,
    check_probabilities,
    confidence_and_correctness,
)
from gptapps.metrics.confidence import FloatArray
from gptapps.metrics.confusion import label_codes
from gptapps.metrics.score import AdditiveMetric, mean_of, mean_statistics

# One confident mistake shall not make the loss infinite; scikit-learn clips to the same.
_SMALLEST_PROBABILITY = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy(AdditiveMetric[str, str]):
    """The share of labels predicted right, 0 to 1; ``sklearn.metrics.accuracy_score``.

    Args:
        labels: the labels there are; any other is a :class:`DataError`. None lets every label pass.
    """

    name: str = "accuracy"
    labels: tuple[str, ...] | None = None

    def statistics(self, predictions: Sequence[str], references: Sequence[str], *, language: str = "en") -> FloatArray:
        """(correct, 1) for each example, (N, 2)."""
        _, predicted, expected = label_codes(predictions, references, self.labels)
        return mean_statistics((predicted == expected).astype(np.float64).tolist())

    def aggregate(self, sums: FloatArray) -> FloatArray:
        """Correct / examples."""
        return mean_of(sums)


@dataclass(frozen=True, slots=True, kw_only=True)
class F1(AdditiveMetric[str, str]):
    """F1 of the labels, 0 to 1; ``sklearn.metrics.f1_score`` over the labels that occur.

    Args:
        average: ``"macro"``, the mean over labels; ``"weighted"``, the mean weighted by how often a label is
            the reference; ``"micro"``, from counts pooled over labels (accuracy, where each example has one).
        labels: the labels there are; any other is a :class:`DataError`. None lets every label pass. A label
            that is neither reference nor prediction of any example has no part in the average either way.
    """

    average: Literal["macro", "micro", "weighted"]
    labels: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.average not in ("macro", "micro", "weighted"):
            raise OptionError(f"average is {self.average!r}, but has to be 'macro', 'micro' or 'weighted'.")

    def statistics(self, predictions: Sequence[str], references: Sequence[str], *, language: str = "en") -> FloatArray:
        """One-hot right prediction, prediction and reference for K labels, (N, 3K)."""
        known, predicted, expected = label_codes(predictions, references, self.labels)
        right = _one_hot(expected, len(known)) * (predicted == expected)[:, None]
        return np.hstack([right, _one_hot(predicted, len(known)), _one_hot(expected, len(known))])

    def aggregate(self, sums: FloatArray) -> FloatArray:
        """2 right / (predicted + expected) for each label, averaged: (R, 3K) -> (R,)."""
        right, predicted, expected = np.split(sums, 3, axis=1)
        if self.average == "micro":
            right, predicted, expected = (x.sum(axis=1, keepdims=True) for x in (right, predicted, expected))
        occurring = predicted + expected > 0
        scores = 2 * right / np.where(occurring, predicted + expected, 1)
        weights = expected if self.average == "weighted" else occurring.astype(np.float64)
        return np.asarray((scores * weights).sum(axis=1) / weights.sum(axis=1))

    def details(self, references: Sequence[str], language: str) -> Mapping[str, object]:
        """The average."""
        return {"average": self.average}


@dataclass(frozen=True, slots=True, kw_only=True)
class Matthews(AdditiveMetric[str, str]):
    """Matthews correlation of two or more labels, -1 to 1; ``sklearn.metrics.matthews_corrcoef``.

    0 where predictions or references are all the same label.

    Source: Gorodkin, Comparing two K-category assignments by a K-category correlation coefficient (2004).

    Args:
        labels: the labels there are; any other is a :class:`DataError`. None lets every label pass.
    """

    name: str = "matthews"
    labels: tuple[str, ...] | None = None

    def statistics(self, predictions: Sequence[str], references: Sequence[str], *, language: str = "en") -> FloatArray:
        """Right or not, then one-hot prediction and reference for K labels, (N, 1 + 2K)."""
        known, predicted, expected = label_codes(predictions, references, self.labels)
        right = (predicted == expected).astype(np.float64)[:, None]
        return np.hstack([right, _one_hot(predicted, len(known)), _one_hot(expected, len(known))])

    def aggregate(self, sums: FloatArray) -> FloatArray:
        """Covariance of the two assignments over the root of the product of their variances."""
        right = sums[:, 0]
        predicted, expected = np.split(sums[:, 1:], 2, axis=1)
        total = predicted.sum(axis=1)
        covariance = right * total - (expected * predicted).sum(axis=1)
        variances = (total**2 - (predicted**2).sum(axis=1)) * (total**2 - (expected**2).sum(axis=1))
        return np.asarray(np.where(variances > 0, covariance / np.sqrt(np.maximum(variances, 1)), 0.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLoss(AdditiveMetric[Probabilities, str]):
    """Mean negative log-probability of the right label in nats, 0 or more; ``sklearn.metrics.log_loss``.

    Predictions map every label to its probability. Probabilities are kept 2.2e-16 (float64's eps) away from 0
    and 1, as in scikit-learn.
    """

    name: str = "log_loss"
    higher_is_better: bool = False

    def statistics(
        self, predictions: Sequence[Probabilities], references: Sequence[str], *, language: str = "en"
    ) -> FloatArray:
        """(-ln p of the right label, 1) for each example, (N, 2)."""
        check_probabilities(predictions, references)
        right = np.array([row[label] for row, label in zip(predictions, references, strict=True)])
        clipped = np.clip(right.astype(np.float64), _SMALLEST_PROBABILITY, 1 - _SMALLEST_PROBABILITY)
        return mean_statistics((-np.log(clipped)).tolist())

    def aggregate(self, sums: FloatArray) -> FloatArray:
        """Loss / examples."""
        return mean_of(sums)


@dataclass(frozen=True, slots=True, kw_only=True)
class Brier(AdditiveMetric[Probabilities, str]):
    """Mean squared distance between probabilities and what happened; ``sklearn.metrics.brier_score_loss``.

    Predictions map every label to its probability. With two labels it is the squared error of one of them, 0 to
    1; with more the sum over the labels, 0 to 2 (scikit-learn's ``scale_by_half="auto"``).

    Source: Brier, Verification of Forecasts Expressed in Terms of Probability (1950).
    """

    name: str = "brier"
    higher_is_better: bool = False

    def statistics(
        self, predictions: Sequence[Probabilities], references: Sequence[str], *, language: str = "en"
    ) -> FloatArray:
        """(squared distance, 1) for each example, (N, 2)."""
        check_probabilities(predictions, references)
        return mean_statistics([_distance(row, label) for row, label in zip(predictions, references, strict=True)])

    def aggregate(self, sums: FloatArray) -> FloatArray:
        """Distance / examples."""
        return mean_of(sums)


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationError(AdditiveMetric[Probabilities, str]):
    """Expected calibration error, 0 to 1: how far confidence is from accuracy, bin by bin.

    Predictions map every label to its probability; confidence is that of the likeliest label, sorted into
    equally wide bins. :func:`gptapps.metrics.reliability_bins` shows the bins.

    Source: Guo et al., On Calibration of Modern Neural Networks (ICML 2017), equation 3.

    Args:
        bins: how many; 15 as in the paper.
    """

    name: str = "calibration_error"
    higher_is_better: bool = False
    bins: int = 15

    def __post_init__(self) -> None:
        bin_edges(self.bins)

    def statistics(
        self, predictions: Sequence[Probabilities], references: Sequence[str], *, language: str = "en"
    ) -> FloatArray:
        """Correctness minus confidence in the column of the example's bin, then 1: (N, bins + 1)."""
        confidence, correct = confidence_and_correctness(predictions, references)
        gaps = _one_hot(bin_positions(confidence, self.bins), self.bins) * (correct - confidence)[:, None]
        return np.column_stack([gaps, np.ones(len(gaps))])

    def aggregate(self, sums: FloatArray) -> FloatArray:
        """Sum of the bins' absolute gaps / examples."""
        return np.asarray(np.abs(sums[:, :-1]).sum(axis=1) / sums[:, -1])

    def details(self, references: Sequence[str], language: str) -> Mapping[str, object]:
        """The number of bins."""
        return {"bins": self.bins}


def _one_hot(codes: npt.NDArray[np.int64], size: int) -> FloatArray:
    return np.asarray(codes[:, None] == np.arange(size), dtype=np.float64)


def _distance(row: Probabilities, reference: str) -> float:
    squared = sum((probability - (label == reference)) ** 2 for label, probability in row.items())
    return squared / 2 if len(row) < 3 else squared


accuracy = Accuracy()
macro_f1 = F1(name="macro_f1", average="macro")
micro_f1 = F1(name="micro_f1", average="micro")
weighted_f1 = F1(name="weighted_f1", average="weighted")
matthews = Matthews()
log_loss = LogLoss()
brier = Brier()
calibration_error = CalibrationError()
