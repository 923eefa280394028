"""Probabilities held against what happened: reliability bins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gptapps.errors import DataError, OptionError
from gptapps.metrics.confidence import FloatArray
from gptapps.metrics.inputs import check_pairs, check_texts
from gptapps.registry import suggestion

Probabilities = Mapping[str, float]

# Probabilities from a float32 softmax sum to 1 within 1e-6; anything coarser than this is a mistake.
_SUM_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """The examples whose confidence lies in ``(low, high]`` (the first bin holds 0 too).

    Attributes:
        low: lower bound of the bin.
        high: upper bound of the bin.
        count: the number of examples in it.
        confidence: their mean probability of the predicted label; None in an empty bin.
        accuracy: the share of them predicted right; None in an empty bin.
    """

    low: float
    high: float
    count: int
    confidence: float | None
    accuracy: float | None


def reliability_bins(
    predictions: Sequence[Probabilities], references: Sequence[str], bins: int = 15
) -> tuple[ReliabilityBin, ...]:
    """Sort the examples into equally wide bins of confidence and compare it with accuracy in each.

    Args:
        predictions: for each example, the probability of every label; the likeliest is the prediction, the
            first of them where several are equally likely.
        references: the right labels.
        bins: how many.

    Returns:
        Every bin, in order, empty ones among them.

    Raises:
        DataError: see :func:`check_probabilities`.
        OptionError: ``bins`` isn't positive.

    Source: Guo et al., On Calibration of Modern Neural Networks (ICML 2017), section 2.
    """
    confidence, correct = confidence_and_correctness(predictions, references)
    position = bin_positions(confidence, bins)
    edges = bin_edges(bins)
    rows = []
    for index in range(bins):
        inside = position == index
        count = int(inside.sum())
        rows.append(
            ReliabilityBin(
                low=float(edges[index]),
                high=float(edges[index + 1]),
                count=count,
                confidence=float(confidence[inside].mean()) if count else None,
                accuracy=float(correct[inside].mean()) if count else None,
            )
        )
    return tuple(rows)


def confidence_and_correctness(
    predictions: Sequence[Probabilities], references: Sequence[str]
) -> tuple[FloatArray, FloatArray]:
    """Return the probability of each predicted label, (N,), and 1 where it is the right one, (N,).

    Raises:
        DataError: see :func:`check_probabilities`.
    """
    check_probabilities(predictions, references)
    predicted = [max(row, key=row.__getitem__) for row in predictions]
    confidence = np.array([row[label] for row, label in zip(predictions, predicted, strict=True)])
    correct = np.array([float(a == b) for a, b in zip(predicted, references, strict=True)])
    return confidence, correct


def bin_edges(bins: int) -> FloatArray:
    """Return the ``bins + 1`` borders of equally wide bins between 0 and 1."""
    if bins < 1:
        raise OptionError(f"bins has to be at least 1, but it is {bins}.")
    return np.linspace(0.0, 1.0, bins + 1)


def bin_positions(confidence: FloatArray, bins: int) -> npt.NDArray[np.intp]:
    """Return the index of the bin each confidence falls in, (N,) -> (N,)."""
    return np.searchsorted(bin_edges(bins)[1:-1], confidence, side="left")


def check_probabilities(predictions: Sequence[Probabilities], references: Sequence[str]) -> None:
    """Check that every prediction is a distribution over labels that holds the right one.

    Raises:
        DataError: empty input, unequal lengths, something that isn't a mapping, a probability outside 0 to 1,
            a sum that isn't 1, or a reference that the prediction gives no probability.
    """
    check_pairs(predictions, references)
    check_texts(references, "Reference")
    for number, (row, reference) in enumerate(zip(predictions, references, strict=True), start=1):
        if not isinstance(row, Mapping):
            raise DataError(
                f"Prediction {number} is {type(row).__name__}, but this metric takes a mapping from labels to "
                "probabilities."
            )
        for label, probability in row.items():
            if not 0.0 <= probability <= 1.0:
                raise DataError(
                    f"Prediction {number} gives {label!r} the probability {probability}: it has to lie between 0 and 1."
                )
        total = sum(row.values())
        if abs(total - 1.0) > _SUM_TOLERANCE:
            raise DataError(f"The probabilities of prediction {number} sum to {total:.6g}: they have to sum to 1.")
        if reference not in row:
            raise DataError(
                f"Reference {number} is the unknown label {reference!r}.{suggestion(reference, row)} "
                f"Its prediction knows: {', '.join(sorted(row))}."
            )
