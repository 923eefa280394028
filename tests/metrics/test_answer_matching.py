from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptapps.errors import DataError, OptionError
from gptapps.metrics.answer_matching import ExactMatch, TokenF1, exact_match, token_f1
from gptapps.registry import METRICS

words = st.lists(st.sampled_from(["the", "a", "red", "boat", "Boat", "harbour,", "!", "42"]), max_size=6).map(" ".join)


def scores(prediction: str, answers: Any, rules: Any = None, language: str = "en") -> tuple[float, float]:
    """Exact match and F1 of one question."""
    exact, f1 = (
        metric([prediction], [answers], language=language).value
        for metric in (ExactMatch(rules=rules), TokenF1(rules=rules))
    )
    return exact, f1


@pytest.mark.parametrize("rules", ["squad_v1", "squad_v2"])
@pytest.mark.parametrize(
    ("prediction", "answers", "exact", "f1"),
    [
        ("the Golden Gate!", ["golden gate"], 1, 1),
        ("An   apple-pie", ["applepie"], 1, 1),  # punctuation is dropped, not replaced by a space
        ("theatre", ["atre"], 0, 0),  # articles are whole words
        ("Los Angeles", ["Los Angeles, California", "L.A."], 0, 4 / 5),
        ("in 1969 in July", ["July 1969"], 0, 2 * (2 / 4) * (2 / 2) / (2 / 4 + 2 / 2)),
        ("no no yes", ["no no no"], 0, 2 / 3),  # a bag counts repeats: two of three
        ("big red", ["red big"], 0, 1),  # a bag has no order
        ("don't", ["dont"], 1, 1),
        ("“quoted”", ["quoted"], 0, 0),  # only ASCII punctuation is dropped
        ("", ["something"], 0, 0),
    ],
)
def test_english_follows_squad_s_rules(
    rules: Any, prediction: str, answers: list[str], exact: float, f1: float
) -> None:
    assert scores(prediction, answers, rules) == (exact, pytest.approx(f1, rel=1e-15))


@pytest.mark.parametrize(
    ("prediction", "answers", "exact", "f1"),
    [
        ("", [], 1, 1),
        ("the", (), 1, 1),  # nothing is left of it
        ("Paris", [], 0, 0),
        ("", ["Paris"], 0, 0),
        ("", ["The", "Paris"], 0, 0),  # an answer of which nothing is left doesn't count
        ("the.", ["The", "a"], 1, 1),  # without any other the question is unanswerable
    ],
)
def test_an_unanswerable_question_wants_no_answer(prediction: str, answers: list[str], exact: float, f1: float) -> None:
    assert scores(prediction, answers) == scores(prediction, answers, "squad_v2") == (exact, f1)


def test_squad_v1_s_rules_have_metrics_of_their_own() -> None:
    exact, f1 = METRICS.get("squad_v1_exact_match"), METRICS.get("squad_v1_f1")
    predictions, answers = ["", "the red boat"], [[".", "Paris"], ["a boat"]]
    for language in ("en", "zh"):
        assert exact(predictions, answers, language=language).value == 1 / 2  # exact_match: 0
        assert f1(predictions, answers, language=language).value == pytest.approx((0 + 2 / 3) / 2)
    assert exact(predictions, answers).signature.startswith("squad_v1_exact_match|lang:en|rules:squad_v1|n:2|")
    assert f1(predictions, answers).signature.startswith("squad_v1_f1|lang:en|rules:squad_v1|n:2|")


def test_squad_v1_counts_answers_of_which_nothing_is_left() -> None:
    assert scores("", [".", "Paris"], "squad_v1") == (1, 0)
    assert scores("a", ["the"], "squad_v1") == (1, 0)


@pytest.mark.parametrize(
    ("prediction", "answers", "exact", "f1"),
    [
        ("北京大学。", ["北京大学"], 1, 1),
        ("《红楼梦》", ["红楼梦"], 1, 1),
        ("在北京大学", ["北京大学"], 0, 8 / 9),
        ("大学北京", ["北京大学"], 0, 1 / 2),  # the longest run in common, not a bag
        ("1999年5月", ["1999年"], 0, 2 * (2 / 4) * (2 / 2) / (2 / 4 + 2 / 2)),  # a number is one unit
        ("iPhone 手机", ["iphone手机"], 0, 1),  # EM keeps inner spaces
        ("19-20日", ["1920日"], 1, 1),  # the hyphen goes and the digits join
        ("等等…", ["等等"], 0, 4 / 5),  # "…" is not in the script's list
        ("new york city", ["new york"], 0, 4 / 5),
        ("上海", ["北京"], 0, 0),
        ("。", ["，"], 1, 0),
        ("", ["北京"], 0, 0),
        ("", [], 1, 1),
        ("北京", [], 0, 0),
    ],
)
def test_chinese_follows_cmrc_s_rules(prediction: str, answers: list[str], exact: float, f1: float) -> None:
    assert scores(prediction, answers, language="zh-CN") == (exact, pytest.approx(f1, rel=1e-15))
    assert scores(prediction, answers, "cmrc") == (exact, pytest.approx(f1, rel=1e-15))


def test_other_unspaced_languages_share_characters() -> None:
    assert scores("東京都", ["東京"], language="ja") == (0, 4 / 5)
    assert scores("東京都", ["東京"], language="en") == (0, 0)


@given(words, st.lists(words, min_size=1, max_size=3))
def test_any_answer_will_do_and_f1_is_at_least_exact_match(prediction: str, answers: list[str]) -> None:
    exact, f1 = scores(prediction, answers)
    assert 0 <= exact <= f1 <= 1
    assert scores(prediction, answers[::-1]) == (exact, f1)
    more, before = (scores(prediction, [*some, *answers], "squad_v1") for some in (["boat"], []))
    assert more >= before
    assert scores(prediction, answers[0]) == scores(prediction, [answers[0]])


@given(st.text())
def test_an_answer_repeated_word_for_word_is_perfect(text: str) -> None:
    assert scores(text, [text]) == (1, 1)


@given(st.text("北京大学abc 12", min_size=1).filter(str.strip))
def test_a_chinese_answer_repeated_word_for_word_is_perfect(text: str) -> None:
    assert scores(text, [text], language="zh") == (1, 1)


def test_the_signature_tells_the_rules() -> None:
    assert exact_match(["a"], ["a"]).signature.startswith("exact_match|lang:en|rules:squad_v2|n:1|")
    assert token_f1(["a"], ["a"], language="zh").signature.startswith("token_f1|lang:zh|rules:cmrc|nltk:3")
    assert "|rules:squad_v1|" in TokenF1(rules="squad_v1")(["a"], ["a"]).signature


def test_unknown_rules_are_refused() -> None:
    with pytest.raises(OptionError, match="There are no rules 'squad': they have to be one of squad_v1, squad_v2"):
        TokenF1(rules="squad")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("predictions", "references", "message"),
    [
        (["a", None], [["a"], []], r"^Prediction 2 is NoneType, but this metric takes text \(str\)\.$"),
        (["a", "b"], [["a"], None], r"^Reference 2 is NoneType, but this metric takes a text or several\.$"),
        (["a", "b"], [["a"], [None]], r"^Of reference 2, text 1 is NoneType"),
    ],
)
def test_what_is_no_text_is_told_with_its_place(predictions: list[Any], references: list[Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        exact_match(predictions, references)


def mixed_predictions(references: list[list[str]]) -> list[str]:
    """By turns: an annotator's answer, the next question's, the answer with words around it, none."""
    predictions = []
    for i, answers in enumerate(references):
        after = references[(i + 1) % len(references)]
        first, last, other = (*answers[:1], "")[0], ("", *answers)[-1], (*after[:1], "")[0]
        predictions.append((last, other, f"The {first}, indeed", "")[i % 4])
    return predictions


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "rules", "exact", "f1"),
    [
        # what the official evaluate-v1.1.py and evaluate-v2.0.py give for these predictions, over 100
        ("squad_v1/validation", "squad_v1", 0.2529801324503311, 0.45815394776424),
        ("squad_v2_cs224n/validation", "squad_v2", 0.4863441921684765, 0.58569786905576),
        ("policyqa/test", "squad_v1", 0.2603564547206166, 0.51470713285173),
    ],
)
def test_real_questions_score_as_in_the_official_scripts(
    read_rows: Callable[..., Any], name: str, rules: Any, exact: float, f1: float
) -> None:
    references = [row["answers"]["text"] for row in read_rows(f"qa/{name}")]
    predictions = mixed_predictions(references)
    # the scripts add up in order, which costs them the last two digits of a float
    assert ExactMatch(rules=rules)(predictions, references).value == pytest.approx(exact, abs=1e-15)
    assert TokenF1(rules=rules)(predictions, references).value == pytest.approx(f1, abs=1e-14)


@pytest.mark.data
def test_real_chinese_questions_score_as_in_the_official_script(read_rows: Callable[..., Any]) -> None:
    rows = read_rows("qa/cmrc2018/validation")
    references = [row["answers"]["text"] for row in rows]
    shifted = references[1:] + references[:1]
    predictions = [
        (answers[-1], other[0], answers[0][:-1], row["context"][:30])[i % 4]
        for i, (answers, other, row) in enumerate(zip(references, shifted, rows, strict=True))
    ]
    # what the official cmrc2018_evaluate.py gives for these predictions, over 100
    assert exact_match(predictions, references, language="zh").value == pytest.approx(0.2830071450761106, abs=1e-15)
    assert token_f1(predictions, references, language="zh").value == pytest.approx(0.499525535035997, abs=1e-14)
