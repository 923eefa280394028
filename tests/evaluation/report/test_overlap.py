"""What two texts have in common."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from gptapps.evaluation.report.overlap import Stretch, overlapping
from gptapps.metrics.segmentation import words_and_characters

TEXTS = st.text("ab红船 ,'é１\n", max_size=20)


def marked(stretches: list[Stretch], overlap: str) -> str:
    return "|".join(one.text for one in stretches if one.overlap == overlap)


def test_words_in_order_and_words_elsewhere() -> None:
    mine, theirs = overlapping("Das ist ein GROSSER Hund.", "ein grosser, grosser Hund das")
    assert marked(mine, "same") == "ein GROSSER Hund"
    assert marked(mine, "elsewhere") == "Das"
    assert marked(theirs, "same") == "ein grosser|Hund"
    assert marked(theirs, "elsewhere") == "das"


def test_chinese_is_compared_by_character() -> None:
    mine, theirs = overlapping("今天GPT4真好", "今天，GPT4 很好")
    assert marked(mine, "same") == "今天GPT4|好"
    assert marked(theirs, "same") == "今天，GPT4|好"


def test_texts_with_nothing_in_common_are_not_marked() -> None:
    assert overlapping("a boat", "红船") == ([Stretch("a boat", "")], [Stretch("红船", "")])
    assert overlapping("", "") == ([], [])


@given(TEXTS, TEXTS)
def test_stretches_make_up_the_texts_and_both_sides_mark_the_same_units(first: str, second: str) -> None:
    mine, theirs = overlapping(first, second)
    assert ("".join(one.text for one in mine), "".join(one.text for one in theirs)) == (first, second)
    for overlap in ("same", "elsewhere"):
        units = [
            Counter(words_and_characters(" ".join(one.text for one in side if one.overlap == overlap)))
            for side in (mine, theirs)
        ]
        assert units[0] == units[1]


@given(TEXTS)
def test_a_text_is_the_same_as_itself(text: str) -> None:
    mine, theirs = overlapping(text, text)
    assert mine == theirs
    rest = "".join(one.text for one in mine if one.overlap != "same")
    assert words_and_characters(rest) == []
