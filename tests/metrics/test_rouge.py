from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from gptapps.errors import DataError, OptionError
from gptapps.metrics.rouge import Rouge, rouge1, rouge2, rougeL, rougeLsum

METRICS = {"rouge1": rouge1, "rouge2": rouge2, "rougeL": rougeL, "rougeLsum": rougeLsum}
every_rouge = pytest.mark.parametrize("name", sorted(METRICS))

english = st.lists(
    st.sampled_from(["The", "boats", "sailed", "home,", "again", "sailing", "boat.\n", "x-ray", "猫", "é"]), max_size=12
).map(" ".join)
chinese = st.text("春眠不觉晓处闻啼鸟夜来风雨声，。\n", max_size=20)


def oracle_mean(name: str, predictions: list[str], references: list[list[str]], *, use_stemmer: bool = False) -> float:
    scorer = RougeScorer([name], use_stemmer=use_stemmer)
    scores = [
        scorer.score_multi(several, prediction)[name].fmeasure
        for prediction, several in zip(predictions, references, strict=True)
    ]
    return sum(scores) / len(scores)


def as_ascii_words(text: str) -> str:
    """Each Chinese character and each word of another script, as a word that rouge-score keeps."""

    def spelled(line: str) -> str:
        units = re.findall(r"[\u3400-\u9fff]|[^\W_\u3400-\u9fff]+", unicodedata.normalize("NFKC", line).lower())
        return " ".join("".join(f"u{ord(character)}" for character in unit) for unit in units)

    return "\n".join(spelled(line) for line in text.split("\n"))


@every_rouge
@pytest.mark.parametrize("use_stemmer", [False, True])
@given(drawn=st.lists(st.tuples(english, st.lists(english, min_size=1, max_size=3)), min_size=1, max_size=6))
def test_english_scores_as_in_rouge_score(name: str, use_stemmer: bool, drawn: list[tuple[str, list[str]]]) -> None:
    predictions, references = [p for p, _ in drawn], [r for _, r in drawn]
    metric = replace(METRICS[name], use_stemmer=use_stemmer)
    value = metric(predictions, references, language="en-GB", resamples=0).value
    assert value == pytest.approx(oracle_mean(name, predictions, references, use_stemmer=use_stemmer), rel=1e-14)


@every_rouge
@given(drawn=st.lists(st.tuples(chinese, chinese), min_size=1, max_size=6))
def test_chinese_scores_as_rouge_score_does_once_characters_are_words(name: str, drawn: list[tuple[str, str]]) -> None:
    predictions, references = [p for p, _ in drawn], [r for _, r in drawn]
    expected = oracle_mean(name, list(map(as_ascii_words, predictions)), [[as_ascii_words(r)] for r in references])
    value = METRICS[name](predictions, references, language="zh", resamples=0).value
    assert value == pytest.approx(expected, rel=1e-14)
    assert 0 <= value <= 1


@every_rouge
@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "Two lines,\nof words"),
        ("zh", "明月几时有，\n把酒问青天。"),
        ("ja", "古池や蛙飛びこむ水の音"),
        ("ru", "Мороз и солнце"),
        ("fr", "Où sont\nles neiges d'antan ?"),
        ("ko", "가는 말이 고와야 오는 말이 곱다"),
        ("hi", "नमस्ते दुनिया"),
    ],
)
def test_identical_text_scores_1(name: str, language: str, text: str) -> None:
    score = METRICS[name]([text, text], [text, ("something else", text)], language=language)
    assert (score.value, score.low, score.high) == (1, 1, 1)


@every_rouge
def test_nothing_in_common_and_an_empty_prediction_score_0(name: str) -> None:
    assert METRICS[name](["", "白日依山尽"], ["黄河入海流"] * 2, language="zh").value == 0


def test_lines_are_the_sentences_of_rougeLsum() -> None:
    prediction, reference = "the end\nthe start", "the start\nthe end"
    assert rougeLsum([prediction], [reference]).value == 1
    assert rougeL([prediction], [reference]).value == 0.5


def test_the_signature_tells_tokenizer_stemmer_and_version() -> None:
    plain = rouge1(["a"], ["a"]).signature
    assert "|lang:en|tok:rouge-score|stemmer:no|rouge-score:0.1" in plain
    assert "|tok:words-and-characters|" in rouge1(["a"], ["a"], language="zh").signature
    assert "|stemmer:yes|" in Rouge(name="rouge1", use_stemmer=True)(["a"], ["a"]).signature


def test_the_stemmer_is_for_english() -> None:
    with pytest.raises(OptionError, match="stemmer is for English, but the language is 'zh'"):
        Rouge(name="rouge1", use_stemmer=True)(["a"], ["a"], language="zh")


def test_an_unknown_rouge_is_refused() -> None:
    with pytest.raises(OptionError, match="There is no ROUGE 'rouge_l': name has to be one of rouge1"):
        Rouge(name="rouge_l")


@pytest.mark.parametrize(
    ("predictions", "references", "message"),
    [
        (["a", None], ["a", "b"], r"^Prediction 2 is NoneType, but this metric takes text \(str\)\.$"),
        (["a", "b"], ["a", []], r"^Reference 2 is empty: this metric needs at least one text\.$"),
        (["a", "b"], ["a", 3], r"^Reference 2 is int, but this metric takes a text or several\.$"),
        (["a", "b"], ["a", ["b", 3]], r"^Of reference 2, text 2 is int"),
    ],
)
def test_what_is_no_text_is_told_with_its_place(predictions: list[Any], references: list[Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        rouge1(predictions, references)


def lead(document: str, sentences: int) -> str:
    return "\n".join(re.split(r"(?<=[.!?]) ", document)[:sentences])


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "limit", "sentences"),
    [("xsum_1k", 150, 1), ("cnn_dm_realsumm100", 60, 3), ("dialogsum", 100, 2), ("scitldr", 100, 1)],
)
def test_lead_sentences_of_real_articles_score_as_in_rouge_score(
    read_rows: Callable[..., Any], name: str, limit: int, sentences: int
) -> None:
    rows = read_rows(f"summarization/{name}/test", limit)
    predictions = [lead(row["document"], sentences) for row in rows]
    references = [row.get("summaries", [row["summary"]]) for row in rows]
    for kind, metric in METRICS.items():
        value = metric(predictions, references, resamples=0).value
        assert round(value, 13) == round(oracle_mean(kind, predictions, references), 13)


@pytest.mark.data
def test_lead_characters_of_real_chinese_posts_score_as_in_rouge_score(read_rows: Callable[..., Any]) -> None:
    rows = read_rows("summarization/lcsts_part3/test", 200)
    predictions = [row["document"][:25] for row in rows]
    references = [row["summary"] for row in rows]
    for kind, metric in METRICS.items():
        expected = oracle_mean(kind, list(map(as_ascii_words, predictions)), [[as_ascii_words(r)] for r in references])
        assert expected > 0.05
        assert round(metric(predictions, references, language="zh", resamples=0).value, 13) == round(expected, 13)
        assert metric(references, references, language="zh", resamples=0).value == 1
