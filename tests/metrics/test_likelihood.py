from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptapps.errors import DataError
from gptapps.metrics.likelihood import bits_per_byte, greedy_accuracy, perplexity


@dataclass(frozen=True)
class Scored:
    log_likelihood: float
    tokens: int
    bytes: int
    greedy: bool = False


records = st.lists(
    st.builds(Scored, st.floats(-500, 0), st.integers(1, 400), st.integers(1, 2000)), min_size=1, max_size=30
)


def test_a_uniform_guess_over_eight_tokens_has_perplexity_8() -> None:
    texts = [Scored(-3 * math.log(8), 3, 12), Scored(-5 * math.log(8), 5, 20)]
    assert perplexity(texts, ["", ""]).value == pytest.approx(8)
    assert bits_per_byte(texts, ["", ""]).value == pytest.approx(3 * 8 / 32)


@given(records)
def test_long_texts_weigh_more(texts: list[Scored]) -> None:
    nats = -sum(text.log_likelihood for text in texts)
    tokens, size = sum(text.tokens for text in texts), sum(text.bytes for text in texts)
    score = perplexity(texts, texts, resamples=50)
    assert score.value == pytest.approx(math.exp(nats / tokens), rel=1e-12)
    assert score.value >= 1
    assert bits_per_byte(texts, texts, resamples=50).value == pytest.approx(nats / math.log(2) / size)


@given(records.filter(lambda texts: len(texts) > 1))
def test_the_ends_of_the_interval_are_values_some_resample_could_have(texts: list[Scored]) -> None:
    score = perplexity(texts, texts, resamples=100)
    own = [perplexity([text], [text]).value for text in texts]
    assert score.low is not None
    assert score.high is not None
    assert min(own) * (1 - 1e-12) <= score.low <= score.high <= max(own) * (1 + 1e-12)


@given(records, st.integers(1, 5))
def test_splitting_a_text_changes_nothing(texts: list[Scored], times: int) -> None:
    doubled = [Scored(2 * text.log_likelihood, 2 * text.tokens, 2 * text.bytes) for text in texts]
    assert perplexity(texts + texts, texts + texts, resamples=0).value == pytest.approx(
        perplexity(doubled, doubled, resamples=0).value
    )


def test_a_text_without_tokens_counts_for_nothing() -> None:
    texts = [Scored(0.0, 0, 0), Scored(-4.0, 2, 7)]
    assert perplexity(texts, texts).value == pytest.approx(math.exp(2))
    # a quarter of the resamples draws the empty text only and has no value
    assert perplexity(texts, texts).low == pytest.approx(math.exp(2))


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([Scored(-1.0, 1, 1), Scored(float("-inf"), 1, 1)], r"^The log-likelihood of text 2 is -inf, not a finite"),
        ([Scored(float("nan"), 1, 1)], r"^The log-likelihood of text 1 is nan, not a finite number\.$"),
        ([Scored(2.5, 1, 1)], r"^The log-likelihood of text 1 is 2\.5, but .*: pass log-likelihoods, not losses\.$"),
        ([Scored(-1.0, 0, 0)], r"^None of the texts has any tokens"),
        ([Scored(-1.0, -3, 1)], r"^Text 1 has -3 tokens"),
    ],
)
def test_what_is_no_likelihood_is_told_with_its_place(texts: list[Scored], message: str) -> None:
    with pytest.raises(DataError, match=message):
        perplexity(texts, texts)


def test_a_perplexity_too_large_for_a_float_is_infinite() -> None:
    texts = [Scored(-5000.0, 1, 1), Scored(-1.0, 1, 1)]
    assert perplexity(texts, texts).value == math.inf


@given(st.lists(st.booleans(), min_size=1, max_size=30))
def test_greedy_accuracy_is_the_share_of_texts_predicted_word_for_word(predicted: list[bool]) -> None:
    texts = [Scored(-1.0, 1, 1, greedy) for greedy in predicted]
    score = greedy_accuracy(texts, [None] * len(texts), resamples=50)
    assert score.value == pytest.approx(sum(predicted) / len(predicted))
    assert score.higher_is_better
    assert score.low is None or score.low <= score.value <= (score.high or 0)
