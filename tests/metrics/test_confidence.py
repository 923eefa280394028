from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import sacrebleu
from hypothesis import given
from hypothesis import strategies as st
from sacrebleu.significance import PairedTest, _bootstrap_resample

from gptapps.errors import OptionError
from gptapps.metrics import confidence
from gptapps.metrics.bleu import bleu, chrf, ter
from gptapps.metrics.confidence import bootstrap_values, exact_sums, percentile_interval, resample_counts

WORDS = [
    "river",
    "stone",
    "bridge",
    "lantern",
    "winter",
    "garden",
    "letter",
    "music",
    "harbour",
    "window",
    "morning",
    "paper",
]
ORACLES = {"bleu": sacrebleu.BLEU(force=True), "chrf": sacrebleu.CHRF(), "ter": sacrebleu.TER()}
METRICS = {"bleu": bleu, "chrf": chrf, "ter": ter}
SACREBLEU_SEED = 12345  # its own default

sacrebleu_metric = pytest.mark.parametrize("name", sorted(ORACLES))


def sentences(seed: int, noise: float) -> list[str]:
    """The same 60 sentences for any seed, with a share of the words replaced."""
    drawn = np.random.default_rng(0).integers(len(WORDS), size=(60, 9))
    random = np.random.default_rng(seed)
    replaced = np.where(random.random(drawn.shape) < noise, random.integers(len(WORDS), size=drawn.shape), drawn)
    return [" ".join(WORDS[word] for word in row) for row in replaced]


def total(sums: confidence.FloatArray) -> confidence.FloatArray:
    return sums[:, 0]


def test_a_resample_counts_how_often_each_index_was_drawn() -> None:
    drawn = np.random.default_rng(7).integers(5, size=(3, 5))
    expected = [[np.sum(row == index) for index in range(5)] for row in drawn]
    counts = np.concatenate(list(resample_counts(5, 3, 7)))
    np.testing.assert_array_equal(counts, expected)


@pytest.mark.parametrize("elements", [1, 50, 333, 10**6])
def test_the_resamples_do_not_depend_on_how_many_are_drawn_at_once(
    monkeypatch: pytest.MonkeyPatch, elements: int
) -> None:
    expected = np.concatenate(list(resample_counts(10, 101, 5)))
    monkeypatch.setattr(confidence, "_CHUNK_ELEMENTS", elements)
    chunks = list(resample_counts(10, 101, 5))
    assert max(len(chunk) for chunk in chunks) <= max(1, elements // 10)
    np.testing.assert_array_equal(np.concatenate(chunks), expected)


def test_memory_stays_bounded() -> None:
    statistics = np.ones((20_000, 2))
    tracemalloc.start()
    try:
        bootstrap_values(statistics, total, resamples=500, seed=0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 50e6  # all indices at once would be 80 MB, their counts as much again


@sacrebleu_metric
def test_resampled_values_are_sacrebleu_s_own(name: str) -> None:
    references = sentences(0, 0.0)
    predictions = sentences(1, 0.3)
    metric, oracle = METRICS[name], ORACLES[name]
    rows = oracle._extract_corpus_statistics(predictions, [references])
    _, expected = _bootstrap_resample(rows, oracle, 200)
    values = bootstrap_values(
        metric.statistics(predictions, references), metric.aggregate, resamples=200, seed=SACREBLEU_SEED
    )
    # sacrebleu resamples in float32
    np.testing.assert_allclose(values, [score.score for score in expected], rtol=1e-5)


@sacrebleu_metric
@pytest.mark.parametrize("noise", [0.3, 0.34, 0.5])
def test_paired_bootstrap_on_the_same_statistics_agrees_with_sacrebleu(name: str, noise: float) -> None:
    references, ours, theirs = sentences(0, 0.0), sentences(1, 0.3), sentences(2, noise)
    metric, oracle = METRICS[name], ORACLES[name]
    baseline, system = (
        bootstrap_values(metric.statistics(side, references), metric.aggregate, resamples=300, seed=SACREBLEU_SEED)
        for side in (ours, theirs)
    )
    differences = np.abs(system - baseline)
    observed = abs(metric(theirs, references).value - metric(ours, references).value)
    p = (np.sum(differences - differences.mean() > observed) + 1) / (300 + 1)
    systems = [("ours", ours), ("theirs", theirs)]
    _, results = PairedTest(systems, {name: oracle}, [references], test_type="bs", n_samples=300)()
    result = next(values for key, values in results.items() if key != "System")[1]
    assert p == pytest.approx(result.p_value, abs=1.5 / 301)  # float32 there may move one resample


@sacrebleu_metric
@pytest.mark.parametrize("noise", [0.34, 0.4])
def test_approximate_randomization_on_the_same_statistics_agrees_with_sacrebleu(name: str, noise: float) -> None:
    references, ours, theirs = sentences(0, 0.0), sentences(1, 0.3), sentences(2, noise)
    metric, oracle = METRICS[name], ORACLES[name]
    rows = metric.statistics(ours + theirs, references * 2)
    a, b = rows[: len(ours)], rows[len(ours) :]
    stay = np.random.default_rng(SACREBLEU_SEED).integers(2, size=(400, len(ours)), dtype=bool)
    shuffled = [metric.aggregate(stay @ x + ~stay @ y) for x, y in ((a, b), (b, a))]
    observed = abs(metric(theirs, references).value - metric(ours, references).value)
    p = (np.sum(np.abs(shuffled[0] - shuffled[1]) > observed) + 1) / (400 + 1)
    systems = [("ours", ours), ("theirs", theirs)]
    _, results = PairedTest(systems, {name: oracle}, [references], test_type="ar", n_samples=400)()
    result = next(values for key, values in results.items() if key != "System")[1]
    assert p == pytest.approx(result.p_value, abs=1.5 / 401)


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=50).flatmap(st.permutations))
def test_sums_do_not_depend_on_the_order(values: list[float]) -> None:
    column = np.array(values)[:, None]
    assert exact_sums(column).tolist() == exact_sums(np.sort(column, axis=0)).tolist()


def test_sums_are_rounded_once() -> None:
    assert exact_sums(np.array([[0.1, 1e16]] * 10 + [[0.0, 1.0]] * 2)).tolist() == [[1.0, 1e17 + 2]]


def test_the_interval_holds_the_middle_95_percent() -> None:
    assert percentile_interval(np.arange(1001.0)) == pytest.approx((25.0, 975.0))


def test_undefined_resamples_are_left_out() -> None:
    assert percentile_interval(np.array([np.nan, 2.0, np.inf, 2.0])) == (2.0, 2.0)
    assert percentile_interval(np.array([np.nan])) is None
    assert percentile_interval(np.empty(0)) is None


def test_negative_numbers_are_refused_before_anything_is_drawn() -> None:
    with pytest.raises(OptionError, match="0 and -3"):
        bootstrap_values(np.ones((4, 1)), total, resamples=-3, seed=0)
