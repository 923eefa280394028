"""Resampling: how much a metric's value would move if other examples had been drawn.

Everything here works on statistics that add up over the examples, shape (N, S): one row an example. A
resample is a row of N counts, how often each example was drawn, so that a chunk of resamples times the
statistics gives their sums at once, whatever the metric. Two systems scored on the same examples with the same
seed see the same resamples: their values can be subtracted pairwise.

Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), section 13.3 (percentile interval);
Koehn, Statistical Significance Tests for Machine Translation Evaluation (EMNLP 2004).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from gptapps.errors import OptionError

FloatArray = npt.NDArray[np.float64]
Aggregate = Callable[[FloatArray], FloatArray]

CONFIDENCE = 0.95

# Indices drawn at once: 8 MiB of them, and as much for each form their counts take.
_CHUNK_ELEMENTS = 2**20


def exact_sums(statistics: FloatArray) -> FloatArray:
    """Return the column sums of ``statistics``, (N, S) -> (1, S), rounded once.

    The order of the examples can't change a bit of the result, which a running sum doesn't promise.
    """
    return np.array([[math.fsum(column) for column in statistics.T.tolist()]])


def resample_counts(n: int, resamples: int, seed: int) -> Iterator[FloatArray]:
    """Draw ``resamples`` times ``n`` examples out of ``n`` with replacement; yield how often each was drawn.

    The index stream is that of ``numpy.random.default_rng(seed).integers(n, size=(resamples, n))``, the one
    sacrebleu's significance tests draw, whatever the size of the chunks.

    Yields:
        Arrays of shape (R, n), R resamples at a time, whose rows sum to ``n``; memory stays bounded.

    Raises:
        OptionError: ``seed`` or ``resamples`` is negative.
    """
    if seed < 0 or resamples < 0:
        raise OptionError(f"seed and resamples can't be negative, but they are {seed} and {resamples}.")
    generator = np.random.default_rng(seed)
    rows_at_once = max(1, _CHUNK_ELEMENTS // n)
    for start in range(0, resamples, rows_at_once):
        rows = min(rows_at_once, resamples - start)
        drawn = generator.integers(n, size=(rows, n))
        drawn += np.arange(rows)[:, None] * n
        yield np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n).astype(np.float64)


def bootstrap_values(statistics: FloatArray, aggregate: Aggregate, *, resamples: int, seed: int) -> FloatArray:
    """Return a metric's value on each bootstrap resample of the examples.

    Args:
        statistics: (N, S), one row an example.
        aggregate: sums of statistics (R, S) -> values (R,).
        resamples: how many resamples to draw.
        seed: of the drawing; the same seed and N give the same resamples for any metric and system.

    Returns:
        Values of shape (resamples,).

    Raises:
        OptionError: ``seed`` or ``resamples`` is negative.

    Example:
        A paired difference between two systems on the same examples:

        >>> a, b = np.array([[1.0], [0.0], [1.0]]), np.array([[0.0], [0.0], [1.0]])
        >>> mean = lambda sums: sums[:, 0] / 3
        >>> values = [bootstrap_values(x, mean, resamples=100, seed=0) for x in (a, b)]
        >>> bool((values[0] >= values[1]).all())
        True
    """
    chunks = [aggregate(counts @ statistics) for counts in resample_counts(len(statistics), resamples, seed)]
    return np.concatenate(chunks) if chunks else np.empty(0)


def percentile_interval(values: FloatArray) -> tuple[float, float] | None:
    """Return the bounds that hold the middle 95 % of ``values``; None where no value is finite.

    Resamples in which a metric is undefined (no token at all, for instance) are left out.
    """
    finite = values[np.isfinite(values)]
    if not finite.size:
        return None
    tail = 50.0 * (1.0 - CONFIDENCE)
    low, high = np.percentile(finite, [tail, 100.0 - tail])
    return float(low), float(high)
