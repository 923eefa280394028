"""Paired tests: sacrebleu's own p-values on its metrics, and what any such test has to hold to."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import sacrebleu
from hypothesis import given
from hypothesis import strategies as st
from sacrebleu.significance import PairedTest

from gptapps.errors import DataError, OptionError
from gptapps.metrics import significance
from gptapps.metrics.bleu import bleu, chrf, ter
from gptapps.metrics.classification import accuracy, macro_f1
from gptapps.metrics.likelihood import perplexity
from gptapps.metrics.rouge import rouge1
from gptapps.metrics.significance import paired_difference
from gptapps.outputs import Likelihood, Usage

METRICS = {"bleu": bleu, "chrf": chrf, "ter": ter}
LETTERS = np.array(list("abcdefghij"))


def oracle(name: str, language: str) -> Any:
    split = {"normalized": language == "zh", "asian_support": language == "zh"}
    made = {
        "bleu": lambda: sacrebleu.BLEU(trg_lang=language, force=True),
        "chrf": sacrebleu.CHRF,
        "ter": lambda: sacrebleu.TER(**split),
    }
    return made[name]()


def sacrebleu_p(name: str, language: str, sides: list[list[str]], references: list[str], kind: str, n: int) -> float:
    test = PairedTest(
        [("a", sides[0]), ("b", sides[1])], {name: oracle(name, language)}, [references], test_type=kind, n_samples=n
    )
    _, results = test()
    return next(values for key, values in results.items() if key != "System")[1].p_value


def spoiled(texts: list[str], share: float, seed: int) -> list[str]:
    """The texts with a share of their characters left out."""
    random = np.random.default_rng(seed)
    return ["".join(one for one in text if random.random() > share) for text in texts]


@pytest.mark.parametrize("name", sorted(METRICS))
@pytest.mark.parametrize("noise", [0.1, 0.12, 0.3])
def test_p_values_are_those_of_sacrebleu(name: str, noise: float) -> None:
    words = np.random.default_rng(0).choice(LETTERS, size=(40, 8, 5))
    references = [" ".join("".join(word) for word in sentence) for sentence in words]
    sides = [spoiled(references, 0.1, 1), spoiled(references, noise, 2)]
    found = compared(name, "en", sides, references, resamples=300, trials=700)
    assert found.bootstrap_p == sacrebleu_p(name, "en", sides, references, "bs", 300)
    assert found.randomization_p == sacrebleu_p(name, "en", sides, references, "ar", 700)


@pytest.mark.data
@pytest.mark.parametrize("name", sorted(METRICS))
@pytest.mark.parametrize("data", ["multi30k_en-de", "wmt14_en-fr", "wmt19_en-zh", "manythings_en-zh"])
def test_p_values_on_real_translations_are_those_of_sacrebleu(
    read_rows: Callable[..., Any], name: str, data: str
) -> None:
    rows = read_rows(f"translation/{data}/test", 80)
    language, references = rows[0]["target_lang"], [row["target"] for row in rows]
    sides = [spoiled(references, 0.1, 3), spoiled(references, 0.11, 4)]
    sides[1][::2] = sides[0][::2]  # two systems often say the same
    found = compared(name, language, sides, references, resamples=1000, trials=1000)
    assert found.bootstrap_p == sacrebleu_p(name, language, sides, references, "bs", 1000)
    assert found.randomization_p == sacrebleu_p(name, language, sides, references, "ar", 1000)


def compared(name: str, language: str, sides: list[list[str]], references: list[str], **numbers: int) -> Any:
    metric = METRICS[name]
    rows = metric.statistics(sides[0] + sides[1], references * 2, language=language)
    first, second = np.split(rows, 2)
    found = paired_difference(first, second, metric.aggregate, as_sacrebleu=True, **numbers)
    values = [metric(side, references, language=language, resamples=0).value for side in sides]
    assert found.value == values[1] - values[0]
    return found


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=9))
def test_randomization_finds_what_all_ways_to_throw_the_coins_give(pairs: list[tuple[bool, bool]]) -> None:
    sides = [["yes" if side else "no" for side in column] for column in zip(*pairs, strict=True)]
    first, second = np.split(accuracy.statistics(sides[0] + sides[1], ["yes"] * len(pairs) * 2), 2)
    found = paired_difference(first, second, accuracy.aggregate, trials=4000, resamples=0)
    observed = abs(sum(a - b for a, b in pairs))
    every = [
        abs(sum(sign * (a - b) for sign, (a, b) in zip(signs, pairs, strict=True))) >= observed
        for signs in itertools.product((1, -1), repeat=len(pairs))
    ]
    assert found.randomization_p == pytest.approx(np.mean(every), abs=0.05)
    assert (found.bootstrap_p, found.low, found.high) == (None, None, None)


@pytest.mark.parametrize("metric", [accuracy, macro_f1])
def test_a_large_difference_is_found_and_a_small_one_is_not(metric: Any) -> None:
    random = np.random.default_rng(0)
    gold = random.choice(["a", "b", "c"], size=120).tolist()
    good, worse, bad = ([label if random.random() < share else "a" for label in gold] for share in (0.9, 0.88, 0.5))
    rows = np.split(metric.statistics([*good, *worse, *bad], gold * 3), 3)
    clear = paired_difference(rows[0], rows[2], metric.aggregate)
    unclear = paired_difference(rows[0], rows[1], metric.aggregate)
    assert clear.value < 0
    assert clear.high is not None
    assert clear.high < 0
    assert max(clear.bootstrap_p or 1, clear.randomization_p or 1) < 0.01
    assert min(unclear.bootstrap_p or 0, unclear.randomization_p or 0) > 0.05


@given(st.integers(0, 2**32), st.integers(2, 30))
def test_the_two_may_change_places(seed: int, n: int) -> None:
    random = np.random.default_rng(seed)
    texts = [[" ".join(random.choice(LETTERS, size=5)) for _ in range(n)] for _ in range(3)]
    first, second = np.split(rouge1.statistics(texts[0] + texts[1], texts[2] * 2), 2)
    there = paired_difference(first, second, rouge1.aggregate, resamples=50, trials=50)
    back = paired_difference(second, first, rouge1.aggregate, resamples=50, trials=50)
    assert back.value == -there.value
    assert back.randomization_p == there.randomization_p
    assert back.bootstrap_p == there.bootstrap_p
    assert (back.low, back.high) == pytest.approx((-(there.high or 0), -(there.low or 0)))


@pytest.mark.parametrize("as_sacrebleu", [False, True])
def test_a_system_is_not_better_than_itself(as_sacrebleu: bool) -> None:
    rows = chrf.statistics(["a small boat", "at sea"], ["a boat", "at the sea"])
    same = paired_difference(rows, rows.copy(), chrf.aggregate, as_sacrebleu=as_sacrebleu)
    assert (same.value, same.low, same.high, same.bootstrap_p, same.randomization_p) == (0, 0, 0, 1, 1)


def test_one_example_has_no_interval() -> None:
    one = paired_difference(np.array([[1.0, 1.0]]), np.array([[0.0, 1.0]]), accuracy.aggregate, trials=20)
    assert (one.value, one.low, one.high, one.randomization_p) == (-1, None, None, 1)


def test_values_beyond_all_numbers_are_left_out() -> None:
    usage = Usage(input_tokens=1, output_tokens=1)

    def text(nats: float) -> Likelihood:
        return Likelihood(
            log_likelihood=-nats, perplexity=1, bits_per_byte=1, tokens=1, bytes=1, greedy=False, usage=usage
        )

    sides = [[text(1e4), text(1), text(1)], [text(1), text(1), text(1)], [text(1e4)] * 3]
    rows = np.split(perplexity.statistics([*sides[0], *sides[1], *sides[2]], [None] * 9), 3)
    finite = paired_difference(rows[1], rows[1] + [1, 0], perplexity.aggregate, resamples=50, trials=50)
    assert finite.randomization_p == pytest.approx(0.25, abs=0.2)
    for first, second in ((rows[0], rows[1]), (rows[0], rows[2])):
        found = paired_difference(first, second, perplexity.aggregate, resamples=50, trials=50)
        assert not np.isfinite(found.value)
        assert (found.bootstrap_p, found.randomization_p) == (None, None)


@pytest.mark.parametrize(("n", "trials"), [(1, 100), (7, 100), (33, 1000), (500, 50)])
def test_the_coins_do_not_depend_on_how_many_are_thrown_at_once(
    monkeypatch: pytest.MonkeyPatch, n: int, trials: int
) -> None:
    expected = np.random.default_rng(5).integers(2, size=(trials, n), dtype=bool)
    for elements in (1, 5000):
        monkeypatch.setattr(significance, "_CHUNK_ELEMENTS", elements)
        np.testing.assert_array_equal(np.concatenate(list(significance._coins(n, trials, 5))), expected)


def test_mistakes_are_refused() -> None:
    rows = np.ones((3, 2))
    with pytest.raises(DataError, match=r"the shapes \(3, 2\) and \(2, 2\): pass those of the same examples"):
        paired_difference(rows, rows[:2], accuracy.aggregate)
    with pytest.raises(OptionError, match="trials can't be negative, but it is -1"):
        paired_difference(rows, rows, accuracy.aggregate, trials=-1)
    with pytest.raises(OptionError, match="can't be negative"):
        paired_difference(rows, rows, accuracy.aggregate, seed=-1)
