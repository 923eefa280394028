"""What several trainings of one kind reached: mean, spread and interval over folds or seeds."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scipy.stats import t

from gptapps.metrics.confidence import CONFIDENCE
from gptapps.metrics.score import Score


@dataclass(frozen=True, slots=True)
class Spread:
    """One metric over several trainings.

    Attributes:
        name: the metric's.
        values: of each training.
        mean: of them.
        deviation: their standard deviation; 0 where there is one.
        low, high: 95 % interval of the mean by Student's t; None where there is one value. Folds share most of what
            they learn from, so that theirs is rather too narrow (Bengio and Grandvalet 2004).
    """

    name: str
    values: tuple[float, ...]
    mean: float
    deviation: float
    low: float | None
    high: float | None

    @classmethod
    def of(cls, name: str, values: Sequence[float]) -> Spread:
        """Return the spread of values.

        Example:
            >>> spread = Spread.of("accuracy", [0.8, 0.9])
            >>> round(spread.mean, 3), round(spread.deviation, 3), round(spread.low, 3)
            (0.85, 0.071, 0.215)
        """
        mean = statistics.fmean(values)
        if len(values) < 2:
            return cls(name, tuple(values), mean, 0.0, None, None)
        deviation = statistics.stdev(values)
        reach = float(t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)) * deviation / len(values) ** 0.5
        return cls(name, tuple(values), mean, deviation, mean - reach, mean + reach)


def spreads(rounds: Mapping[str, Sequence[Score]]) -> tuple[Spread, ...]:
    """Return the spread of each metric that every round has."""
    found: dict[str, list[float]] = {}
    for scores in rounds.values():
        for score in scores:
            found.setdefault(score.name, []).append(score.value)
    return tuple(Spread.of(name, values) for name, values in found.items() if len(values) == len(rounds))
