"""What a metric is and what it returns.

A metric here is *additive*: each example gives a row of statistics, and the value over any set of examples is
a function of the sum of their rows. A mean needs (score, 1), corpus BLEU its n-gram counts, macro F1 the counts
of each label. Bootstrap intervals, paired bootstrap and approximate randomization need nothing but those rows.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from gptapps.metrics.confidence import (
    CONFIDENCE,
    FloatArray,
    bootstrap_values,
    exact_sums,
    percentile_interval,
)


@dataclass(frozen=True, slots=True)
class Score:
    """A metric's value over a set of examples.

    Attributes:
        name: the metric's, such as ``"bleu"``.
        value: in the metric's own scale; its class says which.
        low: lower bound of the 95 % bootstrap percentile interval; None with fewer than two examples or
            ``resamples=0``.
        high: upper bound, likewise.
        n: the number of examples.
        signature: what another person needs to get the same number, as ``name|key:value|...``.
        higher_is_better: False for losses, error rates and perplexity.
    """

    name: str
    value: float
    low: float | None
    high: float | None
    n: int
    signature: str
    higher_is_better: bool

    def format(self, digits: int = 3, *, signature: bool = False) -> str:
        """Return one line such as ``accuracy = 0.787 [0.740, 0.833] (n = 300)``.

        Args:
            digits: decimal places.
            signature: end the line with the signature.
        """
        line = f"{self.name} = {self.value:.{digits}f}"
        if self.low is not None and self.high is not None:
            line += f" [{self.low:.{digits}f}, {self.high:.{digits}f}]"
        line += f" (n = {self.n})"
        return f"{line} {self.signature}" if signature else line

    def __str__(self) -> str:
        return self.format()


class Metric(Protocol):
    """What the registry ``METRICS`` holds and what evaluation and comparison rely on.

    Derive from :class:`AdditiveMetric` to get ``__call__``; any object with these members will do.

    Predictions are labels, mappings from label to probability, texts or likelihood records; references are
    labels, texts, or sequences of texts of which any will do. Each metric's class says which it takes.
    """

    @property
    def name(self) -> str:
        """The name in scores and signatures."""

    @property
    def higher_is_better(self) -> bool:
        """Whether the larger of two values is the better one."""

    def statistics(self, predictions: Sequence[Any], references: Sequence[Any], *, language: str = "en") -> FloatArray:
        """Return one row of statistics for each example, shape (N, S).

        The columns may depend on the whole input (on the labels that occur), so two systems whose rows are to
        be mixed are passed as one, ``statistics(a + b, references * 2)``, and the result is split.

        Raises:
            DataError: the input is empty, of unequal lengths, or holds something the metric can't score.
        """

    def aggregate(self, sums: FloatArray) -> FloatArray:
        """Return the values that belong to sums of rows, shape (R, S) -> (R,).

        A single row is a sum too: ``aggregate(statistics(...))`` is every example's own score.
        """

    def __call__(
        self,
        predictions: Sequence[Any],
        references: Sequence[Any],
        *,
        language: str = "en",
        seed: int = 0,
        resamples: int = 1000,
    ) -> Score:
        """Score ``predictions`` against ``references``.

        Args:
            predictions: one an example.
            references: one an example, in the same order.
            language: BCP 47 tag of the texts, such as ``"en"`` or ``"zh-Hans"``; metrics of labels ignore it.
            seed: of the bootstrap; the same seed gives the same interval.
            resamples: how many times to resample; 0 leaves the interval out.

        Raises:
            DataError: the input is empty, of unequal lengths, or holds something the metric can't score.
            OptionError: ``language``, ``seed`` or ``resamples`` makes no sense.
        """


P = TypeVar("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class AdditiveMetric(ABC, Generic[P, R]):
    """Base of the metrics: gives ``__call__`` to a class that has ``statistics`` and ``aggregate``.

    ``P`` is what one prediction is, ``R`` what one reference is. Options are fields of the subclass, a frozen
    dataclass, so ``dataclasses.replace(metric, option=...)`` gives the metric with another option.

    Example:
        >>> @dataclass(frozen=True, slots=True, kw_only=True)
        ... class MeanLength(AdditiveMetric[str, str]):
        ...     name: str = "mean_length"
        ...
        ...     def statistics(self, predictions, references, *, language="en"):
        ...         return mean_statistics([len(text) for text in predictions])
        ...
        ...     def aggregate(self, sums):
        ...         return mean_of(sums)
        >>> MeanLength()(["ab", "abcd"], ["", ""], resamples=0).value
        3.0
    """

    name: str
    higher_is_better: bool = True

    @abstractmethod
    def statistics(self, predictions: Sequence[P], references: Sequence[R], *, language: str = "en") -> FloatArray:
        """See :meth:`Metric.statistics`."""

    @abstractmethod
    def aggregate(self, sums: FloatArray) -> FloatArray:
        """See :meth:`Metric.aggregate`."""

    def details(self, references: Sequence[R], language: str) -> Mapping[str, object]:
        """Return what the signature has to state beyond name, number of examples and resampling."""
        return {}

    def __call__(
        self,
        predictions: Sequence[P],
        references: Sequence[R],
        *,
        language: str = "en",
        seed: int = 0,
        resamples: int = 1000,
    ) -> Score:
        """See :meth:`Metric.__call__`."""
        statistics = self.statistics(predictions, references, language=language)
        n = len(statistics)
        value = float(self.aggregate(exact_sums(statistics))[0])
        resampled = bootstrap_values(statistics, self.aggregate, resamples=resamples, seed=seed)
        interval = percentile_interval(resampled) if n > 1 else None
        return Score(
            name=self.name,
            value=value,
            low=interval[0] if interval else None,
            high=interval[1] if interval else None,
            n=n,
            signature=signature_of(self.name, self.details(references, language), n=n, resamples=resamples, seed=seed),
            higher_is_better=self.higher_is_better,
        )


def signature_of(name: str, details: Mapping[str, object], *, n: int, resamples: int, seed: int) -> str:
    """Return what another person needs to get the same numbers, as ``name|key:value|...``.

    Args:
        name: the metric's.
        details: what it has to state of its own.
        n: the number of examples.
        resamples, seed: of the bootstrap.
    """
    stated = {
        **details,
        "n": n,
        "bootstrap": resamples,
        "confidence": CONFIDENCE,
        "seed": seed,
        "numpy": np.__version__,
        "gptapps": installed_version("gptapps"),
    }
    return "|".join([name, *(f"{key}:{item}" for key, item in stated.items())])


def mean_statistics(scores: Sequence[float]) -> FloatArray:
    """Return the statistics of a mean, (score, 1) for each example, (N,) -> (N, 2)."""
    return np.column_stack([np.asarray(scores, dtype=np.float64), np.ones(len(scores))])


def mean_of(sums: FloatArray) -> FloatArray:
    """Return the means that belong to sums of :func:`mean_statistics`, (R, 2) -> (R,)."""
    return np.asarray(sums[:, 0] / sums[:, 1])


def installed_version(distribution: str) -> str:
    """Return a distribution's version, or ``"unknown"`` where it runs from a bare checkout."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "unknown"
