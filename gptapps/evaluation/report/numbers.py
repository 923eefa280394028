"""The numbers of a report: scores on a scale, labels counted against labels, scores by length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gptapps.evaluation.recorded import RecordedRun
from gptapps.evaluation.report.plots import LengthBin
from gptapps.evaluation.run_folder import Finished
from gptapps.evaluation.tables import digits_of
from gptapps.metrics.calibration import ReliabilityBin, reliability_bins
from gptapps.metrics.confidence import FloatArray, bootstrap_values, exact_sums, percentile_interval
from gptapps.metrics.score import Metric, Score

_MOST_LENGTHS = 8
_LEAST_EXAMPLES = 10  # of about one length
_RESAMPLES = 500


@dataclass(frozen=True, slots=True)
class Cell:
    """A value with its interval, as text and as places on a scale from 0 to 100.

    Attributes:
        value, low, high: as text; bounds are None where there is no interval.
        at, start, end: places of the three; None where they lie nowhere.
    """

    value: str
    low: str | None
    high: str | None
    at: float | None
    start: float | None
    end: float | None


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """A metric: the model's cell first, then one for each baseline; None where a baseline has no such score."""

    metric: str
    higher_is_better: bool
    cells: tuple[Cell | None, ...]


def score_rows(scores: Sequence[Score], others: Sequence[Sequence[Score]]) -> list[ScoreRow]:
    """Return a row for each score, with what ``others`` have in the same metric beside it."""
    rows = []
    for score in scores:
        beside = [next((one for one in some if one.name == score.name), None) for some in others]
        known = [score, *(one for one in beside if one is not None)]
        bounds = [bound for one in known for bound in (one.value, one.low, one.high) if bound is not None]
        finite = [0.0, *(bound for bound in bounds if np.isfinite(bound))]
        scale = min(finite), max(max(finite), 1e-9) * 1.04
        cells = tuple(None if one is None else cell(one.value, one.low, one.high, scale) for one in [score, *beside])
        rows.append(ScoreRow(score.name.replace("_", " "), score.higher_is_better, cells))
    return rows


def cell(
    value: float,
    low: float | None,
    high: float | None,
    scale: tuple[float, float],
    *,
    digits: int | None = None,
    signed: bool = False,
) -> Cell:
    """Return a value with its interval as it is shown on a scale; see :class:`Cell`."""
    form = f"{'+' if signed else ''}.{digits_of(value) if digits is None else digits}f"

    def text(number: float | None) -> str | None:
        return None if number is None else f"{number:{form}}".replace("-", "−").replace("nan", "–")

    def place(number: float | None) -> float | None:
        if number is None or not np.isfinite(number):
            return None
        return round(100 * (min(max(number, scale[0]), scale[1]) - scale[0]) / (scale[1] - scale[0]), 2)

    return Cell(text(value) or "", text(low), text(high), place(value), place(low), place(high))


def reliability(run: RecordedRun) -> tuple[ReliabilityBin, ...]:
    """Return the bins of confidence of a run that gives probabilities; else nothing."""
    predictions, golds = _labelled(run)
    probabilities = [one["scores"] for one in predictions]
    if not probabilities or any(gold not in row for row, gold in zip(probabilities, golds, strict=True)):
        return ()
    return reliability_bins(probabilities, golds)


def calibration_gap(bins: Sequence[ReliabilityBin]) -> float:
    """Return the expected calibration error of bins."""
    gaps = [(one.count, abs((one.accuracy or 0.0) - (one.confidence or 0.0))) for one in bins]
    return sum(count * gap for count, gap in gaps) / sum(count for count, _ in gaps)


def input_length(example: Finished) -> int:
    """Return how many tokens the model read; a text that is scored is input, too."""
    read = int(example.usage["input_tokens"])
    return read + int(example.prediction["tokens"]) if "tokens" in example.prediction else read


def by_length(run: RecordedRun, metric: Metric) -> list[LengthBin]:
    """Return a metric over the examples of about one length, of the shortest first; each bin has as many."""
    statistics = run.statistics(metric)
    lengths = np.array([input_length(example) for example in run.examples])
    count = max(1, min(_MOST_LENGTHS, len(lengths) // _LEAST_EXAMPLES))
    bins = []
    for chosen in np.array_split(np.argsort(lengths, kind="stable"), count):
        value, low, high = _with_interval(statistics[chosen], metric, run.seed)
        bins.append(LengthBin(int(lengths[chosen[0]]), int(lengths[chosen[-1]]), len(chosen), value, low, high))
    return bins


def _with_interval(statistics: FloatArray, metric: Metric, seed: int) -> tuple[float, float | None, float | None]:
    value = float(metric.aggregate(exact_sums(statistics))[0])
    if len(statistics) < 2:
        return value, None, None
    drawn = bootstrap_values(statistics, metric.aggregate, resamples=_RESAMPLES, seed=seed)
    return (value, *(percentile_interval(drawn) or (None, None)))


def _labelled(run: RecordedRun) -> tuple[list[Mapping[str, Any]], list[str]]:
    """Return predictions with probabilities and their golds, or nothing where an example has neither."""
    predictions = [example.prediction for example in run.examples if "scores" in example.prediction]
    golds = [example.gold for example in run.examples if isinstance(example.gold, str)]
    complete = len(predictions) == len(golds) == len(run.examples)
    return (predictions, golds) if complete else ([], [])
