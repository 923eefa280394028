"""A metric that gptapps doesn't have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gptapps.metrics.confidence import FloatArray
from gptapps.metrics.score import AdditiveMetric, mean_of, mean_statistics


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanAbsoluteError(AdditiveMetric[float, float]):
    """The mean distance between two ratings."""

    name: str = "mean_absolute_error"
    higher_is_better: bool = False

    def statistics(
        self, predictions: Sequence[float], references: Sequence[float], *, language: str = "en"
    ) -> FloatArray:
        """Return (distance, 1) for each example."""
        return mean_statistics([abs(a - b) for a, b in zip(predictions, references, strict=True)])

    def aggregate(self, sums: FloatArray) -> FloatArray:
        """Return the means."""
        return mean_of(sums)


mean_absolute_error = MeanAbsoluteError()
