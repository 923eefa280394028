"""Whether one system is better than another on the same examples, or only luckier.

Two tests of the difference between two values of a metric, both on statistics that add up over the examples,
shape (N, S):

======================  ============================================================================================
bootstrap               examples are drawn anew, the same for both systems; p is how often the difference moves as
                        far from its mean as the observed one lies from 0
randomization           of every pair of outputs a coin decides which system it counts for; p is how often the
                        difference that comes out is as large as the observed one, in either direction
======================  ============================================================================================

``as_sacrebleu=True`` gives the p-values of sacrebleu's ``PairedTest`` for the same seed and numbers, to the last digit
unless a resample, which it computes in float32, lies within rounding of the border. It counts in another way, which is
right for BLEU, chrF and TER only, where people expect its numbers: its bootstrap looks at how far the *size* of the
difference moves, and upwards only, so that p is about half of ours; and a difference equal to the observed one doesn't
count as being as large, which matters where few values are possible. (With three examples, all better, it finds
p = 0.0001 where 2 of 8 ways to throw the coins give the same difference.)

Systems that agree in every example have p = 1 in either test; sacrebleu gives them the smallest p there is.

Source: Koehn, Statistical Significance Tests for Machine Translation Evaluation (EMNLP 2004); Noreen,
Computer-Intensive Methods for Testing Hypotheses (1989); Efron and Tibshirani, An Introduction to the Bootstrap (1993),
section 16.4; Phipson and Smyth, Permutation P-values Should Never Be Zero (2010).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from gptapps.errors import DataError, OptionError
from gptapps.metrics.confidence import Aggregate, FloatArray, bootstrap_values, exact_sums, percentile_interval

SACREBLEU_SEED, SACREBLEU_RESAMPLES, SACREBLEU_TRIALS = 12345, 1000, 10_000
"""sacrebleu's own defaults; whoever keeps them gets what its command line prints."""

_CHUNK_ELEMENTS = 2**20
_WORD = 32  # numpy draws that many coins from one number, and begins with a new number at each call

# Sums of the same numbers in another order may differ in their last bits; they count as the same all the same.
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """How two systems differ on the same examples.

    Attributes:
        value: the second's value minus the first's.
        low, high: bounds of the 95 % bootstrap percentile interval of that difference; None with fewer than two
            examples or without resamples.
        bootstrap_p: of the paired bootstrap; None without resamples, or where the difference is no finite number.
        randomization_p: of approximate randomization; None without trials, or likewise.
    """

    value: float
    low: float | None
    high: float | None
    bootstrap_p: float | None
    randomization_p: float | None


def paired_difference(
    first: FloatArray,
    second: FloatArray,
    aggregate: Aggregate,
    *,
    seed: int = SACREBLEU_SEED,
    resamples: int = SACREBLEU_RESAMPLES,
    trials: int = SACREBLEU_TRIALS,
    as_sacrebleu: bool = False,
) -> PairedDifference:
    """Compare two systems by their statistics on the same examples.

    Args:
        first: (N, S), one row an example.
        second: (N, S), of the other system, the examples in the same order and the columns with the same meaning.
        aggregate: sums of statistics (R, S) -> values (R,).
        seed: of all that is drawn; each test draws from a generator of its own.
        resamples: of the bootstrap, for the interval and its p-value; 0 leaves both out.
        trials: of approximate randomization; 0 leaves it out.
        as_sacrebleu: count as sacrebleu does; see above.

    Raises:
        DataError: the two have different shapes.
        OptionError: ``seed``, ``resamples`` or ``trials`` is negative.

    Example:
        >>> right, wrong = np.array([[1.0, 1.0]] * 3), np.array([[0.0, 1.0]] * 3)
        >>> found = paired_difference(wrong, right, lambda sums: sums[:, 0] / sums[:, 1])
        >>> found.value, round(found.randomization_p, 2)
        (1.0, 0.25)
    """
    if first.shape != second.shape:
        raise DataError(
            f"The systems' statistics have the shapes {first.shape} and {second.shape}: pass those of the same "
            "examples."
        )
    if trials < 0:
        raise OptionError(f"trials can't be negative, but it is {trials}.")
    values = [float(aggregate(exact_sums(statistics))[0]) for statistics in (first, second)]
    observed = abs(values[1] - values[0])
    resampled = [
        bootstrap_values(statistics, aggregate, resamples=resamples, seed=seed) for statistics in (first, second)
    ]
    with np.errstate(invalid="ignore"):  # inf - inf, where a perplexity left the range of numbers in both
        moved = resampled[1] - resampled[0]
    interval = percentile_interval(moved) if len(first) > 1 else None
    if np.array_equal(first, second):
        low, high = interval or (None, None)
        return PairedDifference(0.0, low, high, 1.0 if resamples else None, 1.0 if trials else None)
    swapped = np.concatenate([np.empty(0), *_swapped_differences(first, second, aggregate, trials, seed)])
    return PairedDifference(
        value=values[1] - values[0],
        low=interval[0] if interval else None,
        high=interval[1] if interval else None,
        bootstrap_p=_p_value(_deviations(moved, as_sacrebleu), observed, as_sacrebleu),
        randomization_p=_p_value(swapped, observed, as_sacrebleu),
    )


def _deviations(differences: FloatArray, as_sacrebleu: bool) -> FloatArray:
    finite = differences[np.isfinite(differences)]
    if not finite.size:
        return finite
    if as_sacrebleu:
        sizes = np.abs(finite)
        return np.asarray(sizes - sizes.mean())  # not made positive below: only what moved upwards counts there
    return np.asarray(np.abs(finite - finite.mean()))


def _p_value(sizes: FloatArray, observed: float, as_sacrebleu: bool) -> float | None:
    finite = sizes[np.isfinite(sizes)]
    if not finite.size or not np.isfinite(observed):
        return None
    extreme = finite > observed if as_sacrebleu else finite >= observed * (1 - _ROUNDING)
    return (int(extreme.sum()) + 1) / (finite.size + 1)  # what was observed is one of the possible outcomes


def _swapped_differences(
    first: FloatArray, second: FloatArray, aggregate: Aggregate, trials: int, seed: int
) -> Iterator[FloatArray]:
    apart = first - second
    sums = [statistics.sum(axis=0) for statistics in (first, second)]
    for stay in _coins(len(first), trials, seed):
        kept = stay @ apart
        with np.errstate(invalid="ignore"):
            yield np.abs(aggregate(sums[1] + kept) - aggregate(sums[0] - kept))


def _coins(n: int, trials: int, seed: int) -> Iterator[FloatArray]:
    """Yield in chunks of rows what ``default_rng(seed).integers(2, size=(trials, n), dtype=bool)`` draws at once."""
    generator = np.random.default_rng(seed)
    rows_at_once = max(1, _CHUNK_ELEMENTS // n // _WORD) * _WORD
    for start in range(0, trials, rows_at_once):
        rows = min(rows_at_once, trials - start)
        yield generator.integers(2, size=(rows, n), dtype=bool).astype(np.float64)
