"""How well a language model predicts text: perplexity, bits per byte, and texts predicted word for word.

The first two are ratios of sums over all texts, so a long text weighs more than a short one, and where the texts were
cut doesn't matter beyond the context that a cut takes away.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from gptapps.errors import DataError
from gptapps.metrics.confidence import FloatArray
from gptapps.metrics.inputs import check_pairs
from gptapps.metrics.score import AdditiveMetric, mean_of, mean_statistics

# Logits in float32 can leave a certain token a hair above probability 1.
_ROUNDING = 1e-4


class LikelihoodRecord(Protocol):
    """What has to be known of a scored text; ``gptapps.outputs.Likelihood`` is one."""

    @property
    def log_likelihood(self) -> float:
        """Sum of the log-probabilities of the predicted tokens, in nats."""

    @property
    def tokens(self) -> int:
        """How many tokens were predicted (the first has nothing before it unless a start token does)."""

    @property
    def bytes(self) -> int:
        """How many bytes of UTF-8 those tokens stand for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Perplexity(AdditiveMetric[LikelihoodRecord, object]):
    """exp of the mean negative log-likelihood of a token, 1 or more; comparable for one tokenizer only.

    References aren't looked at, only counted: the text was its own reference when it was scored.
    """

    name: str = "perplexity"
    higher_is_better: bool = False

    def statistics(
        self, predictions: Sequence[LikelihoodRecord], references: Sequence[object], *, language: str = "en"
    ) -> FloatArray:
        """(nats, tokens) for each text, (N, 2)."""
        return _nats_and(predictions, references, "tokens")

    def aggregate(self, sums: FloatArray) -> FloatArray:
        """exp(nats / tokens); NaN where there is no token."""
        with np.errstate(over="ignore"):
            return np.exp(_ratio(sums))


@dataclass(frozen=True, slots=True, kw_only=True)
class BitsPerByte(AdditiveMetric[LikelihoodRecord, object]):
    """Negative log-likelihood in bits over bytes of UTF-8, 0 or more; comparable across tokenizers.

    References aren't looked at, only counted: the text was its own reference when it was scored.

    Source: Gao et al., The Pile (2020), section 3.1.
    """

    name: str = "bits_per_byte"
    higher_is_better: bool = False

    def statistics(
        self, predictions: Sequence[LikelihoodRecord], references: Sequence[object], *, language: str = "en"
    ) -> FloatArray:
        """(nats, bytes) for each text, (N, 2)."""
        return _nats_and(predictions, references, "bytes")

    def aggregate(self, sums: FloatArray) -> FloatArray:
        """nats / ln 2 / bytes; NaN where there is no byte."""
        return _ratio(sums) / math.log(2)


class GreedyRecord(Protocol):
    """What has to be known of a text to say whether it was predicted; ``gptapps.outputs.Likelihood`` is one."""

    @property
    def greedy(self) -> bool:
        """Whether every token of it was the likeliest in its place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GreedyAccuracy(AdditiveMetric[GreedyRecord, object]):
    """The share of texts that greedy decoding gives, 0 to 1: every token is the likeliest in its place.

    Of last words behind their passages it is the accuracy of LAMBADA. References aren't looked at, only counted.

    Source: Paperno et al., The LAMBADA dataset (2016); ``acc`` of lm-evaluation-harness' task ``lambada_openai``.
    """

    name: str = "greedy_accuracy"

    def statistics(
        self, predictions: Sequence[GreedyRecord], references: Sequence[object], *, language: str = "en"
    ) -> FloatArray:
        """(predicted, 1) for each text, (N, 2)."""
        check_pairs(predictions, references)
        return mean_statistics([float(record.greedy) for record in predictions])

    def aggregate(self, sums: FloatArray) -> FloatArray:
        """Predicted / texts."""
        return mean_of(sums)


def _nats_and(
    predictions: Sequence[LikelihoodRecord], references: Sequence[object], unit: Literal["tokens", "bytes"]
) -> FloatArray:
    check_pairs(predictions, references)
    rows = []
    for number, record in enumerate(predictions, start=1):
        nats = -record.log_likelihood
        amount = record.tokens if unit == "tokens" else record.bytes
        if not math.isfinite(nats):
            raise DataError(f"The log-likelihood of text {number} is {record.log_likelihood}, not a finite number.")
        if nats < -_ROUNDING:
            raise DataError(
                f"The log-likelihood of text {number} is {record.log_likelihood}, but the logarithm of a "
                "probability can't be above 0: pass log-likelihoods, not losses."
            )
        if amount < 0:
            raise DataError(f"Text {number} has {amount} {unit}: a number of {unit} can't be below 0.")
        rows.append((nats, amount))
    statistics = np.array(rows, dtype=np.float64)
    if not statistics[:, 1].any():
        raise DataError(f"None of the texts has any {unit}: there is nothing to divide the likelihood by.")
    return statistics


def _ratio(sums: FloatArray) -> FloatArray:
    some = sums[:, 1] > 0
    return np.asarray(np.where(some, sums[:, 0] / np.where(some, sums[:, 1], 1.0), np.nan))


perplexity = Perplexity()
bits_per_byte = BitsPerByte()
greedy_accuracy = GreedyAccuracy()
