from __future__ import annotations

import subprocess
import sys
from dataclasses import FrozenInstanceError, dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptapps.errors import DataError, OptionError
from gptapps.metrics import Score
from gptapps.metrics.classification import Accuracy, accuracy
from gptapps.metrics.score import installed_version
from gptapps.registry import METRICS


@dataclass(frozen=True)
class Scored:
    log_likelihood: float
    tokens: int
    bytes: int


LABELS = (["yes", "no", "yes", "maybe"], ["yes", "yes", "no", "maybe"])
PROBABILITIES = (
    [{"yes": 0.7, "no": 0.3}, {"yes": 0.2, "no": 0.8}, {"yes": 0.55, "no": 0.45}],
    ["yes", "yes", "no"],
)
TEXTS = (
    ["the ship left port at dawn", "rain fell all night", "she sold the old piano"],
    ["the ship left the port at dawn", "it rained all night long", "she sold her old piano"],
)
LIKELIHOODS = (
    [Scored(-12.5, 5, 22), Scored(-30.0, 9, 41), Scored(-3.25, 2, 8)],
    ["a first text", "another text", "a third"],
)
INPUTS: dict[str, tuple[list[Any], list[Any]]] = {
    **dict.fromkeys(["accuracy", "macro_f1", "micro_f1", "weighted_f1", "matthews"], LABELS),
    **dict.fromkeys(["log_loss", "brier", "calibration_error"], PROBABILITIES),
    **dict.fromkeys(["exact_match", "token_f1", "squad_v1_exact_match", "squad_v1_f1"], TEXTS),
    **dict.fromkeys(["bleu", "chrf", "ter"], TEXTS),
    **dict.fromkeys(["rouge1", "rouge2", "rougeL", "rougeLsum"], TEXTS),
    **dict.fromkeys(["perplexity", "bits_per_byte"], LIKELIHOODS),
}
LOWER_IS_BETTER = {"log_loss", "brier", "calibration_error", "ter", "perplexity", "bits_per_byte"}

every_metric = pytest.mark.parametrize("name", sorted(INPUTS))


def test_there_is_an_input_here_for_every_registered_metric() -> None:
    assert set(INPUTS) <= set(METRICS.names())


@every_metric
def test_a_metric_returns_a_score_that_says_how_to_get_it_again(name: str) -> None:
    metric = METRICS.get(name)
    predictions, references = INPUTS[name]
    score = metric(predictions, references, seed=3, resamples=200)
    assert isinstance(score, Score)
    assert score.name == metric.name == name
    assert score.higher_is_better == metric.higher_is_better == (name not in LOWER_IS_BETTER)
    assert score.n == len(predictions)
    assert score.low is not None
    assert score.high is not None
    assert score.low <= score.high
    stated = score.signature.split("|")
    assert stated[0] == name
    keys = [item.split(":", 1)[0] for item in stated[1:]]
    assert len(keys) == len(set(keys))
    assert {f"n:{score.n}", "seed:3", "bootstrap:200", "confidence:0.95"} <= set(stated)
    assert {"numpy", "gptapps"} <= set(keys)


@every_metric
def test_the_same_seed_gives_the_same_interval_and_another_seed_another(name: str) -> None:
    metric = METRICS.get(name)
    predictions, references = (values * 5 for values in INPUTS[name])
    first = metric(predictions, references, seed=1)
    assert first == metric(predictions, references, seed=1)
    other = metric(predictions, references, seed=2, resamples=37)
    assert other.value == first.value
    if not name.endswith("exact_match"):  # nothing matches here: every resample is 0
        assert (other.low, other.high) != (first.low, first.high)


@every_metric
def test_the_order_of_the_examples_does_not_change_a_bit_of_the_value(name: str) -> None:
    metric = METRICS.get(name)
    predictions, references = INPUTS[name]
    backwards = metric(predictions[::-1], references[::-1])
    assert backwards.value == metric(predictions, references).value


@every_metric
def test_one_example_alone_has_a_value_but_no_interval(name: str) -> None:
    predictions, references = INPUTS[name]
    score = METRICS.get(name)(predictions[:1], references[:1])
    assert (score.low, score.high, score.n) == (None, None, 1)


@every_metric
def test_a_row_of_statistics_is_the_example_s_own_score(name: str) -> None:
    metric = METRICS.get(name)
    predictions, references = INPUTS[name]
    own = metric.aggregate(metric.statistics(predictions, references))
    alone = [metric([p], [r]).value for p, r in zip(predictions, references, strict=True)]
    np.testing.assert_array_equal(own, alone)


@every_metric
def test_two_systems_scored_as_one_have_rows_of_the_same_columns(name: str) -> None:
    metric = METRICS.get(name)
    predictions, references = INPUTS[name]
    half = len(predictions)
    both = metric.statistics(predictions + predictions[::-1], references * 2)
    assert both.shape == (2 * half, both.shape[1])
    value = metric.aggregate(both[:half].sum(axis=0, keepdims=True))[0]
    assert value == pytest.approx(metric(predictions, references).value, rel=1e-15)


@every_metric
def test_no_resamples_leave_the_interval_out(name: str) -> None:
    predictions, references = INPUTS[name]
    score = METRICS.get(name)(predictions, references, resamples=0)
    assert (score.low, score.high) == (None, None)


@every_metric
def test_nothing_to_score_and_unequal_lengths_are_told_in_one_sentence(name: str) -> None:
    metric = METRICS.get(name)
    predictions, references = INPUTS[name]
    with pytest.raises(DataError, match=r"^There is nothing to score: [^\n]*\.$"):
        metric([], [])
    with pytest.raises(DataError, match=rf"^There are {len(predictions)} predictions but 1 references: "):
        metric(predictions, references[:1])
    with pytest.raises(DataError, match=r"^The references are a single text"):
        metric(predictions, "yes")


@every_metric
@pytest.mark.parametrize("option", ["seed", "resamples"])
def test_a_negative_seed_or_number_of_resamples_is_refused(name: str, option: str) -> None:
    predictions, references = INPUTS[name]
    with pytest.raises(OptionError, match="can't be negative"):
        METRICS.get(name)(predictions, references, **{option: -1})


@given(st.lists(st.booleans(), min_size=2, max_size=60), st.integers(0, 2**32))
def test_the_interval_of_a_mean_holds_the_mean_and_stays_in_its_range(right: list[bool], seed: int) -> None:
    score = accuracy(["a" if each else "b" for each in right], ["a"] * len(right), seed=seed)
    assert score.low is not None
    assert score.high is not None
    assert 0 <= score.low <= score.value <= score.high <= 1


def test_format_gives_one_line() -> None:
    score = Score("bleu", 27.31456, 26.0, 28.5, 300, "bleu|tok:13a", True)
    assert str(score) == score.format() == "bleu = 27.315 [26.000, 28.500] (n = 300)"
    assert score.format(1, signature=True) == "bleu = 27.3 [26.0, 28.5] (n = 300) bleu|tok:13a"
    assert replace(score, low=None, high=None).format(2) == "bleu = 27.31 (n = 300)"


def test_scores_and_metrics_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        accuracy.name = "other"  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        accuracy(["a"], ["a"]).value = 1.0  # type: ignore[misc]


def test_an_option_is_set_on_a_copy_of_the_metric() -> None:
    closed = replace(accuracy, labels=("a", "b"))
    assert closed == Accuracy(labels=("a", "b"))
    with pytest.raises(DataError, match="unknown label 'c'"):
        closed(["c"], ["a"])
    assert accuracy(["c"], ["a"]).value == 0


def test_the_version_of_something_not_installed_is_unknown() -> None:
    assert installed_version("numpy") == np.__version__
    assert installed_version("gptapps-that-nobody-has") == "unknown"


def test_metrics_never_import_torch_and_importing_them_loads_no_oracle() -> None:
    code = (
        "import sys\n"
        "from gptapps.registry import METRICS\n"
        "for name in METRICS.names(): METRICS.get(name)\n"
        "print(sorted({'torch', 'transformers', 'sklearn', 'nltk', 'sacrebleu'} & set(sys.modules)))\n"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"
