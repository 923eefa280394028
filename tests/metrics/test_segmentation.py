from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptapps.errors import OptionError
from gptapps.metrics.segmentation import primary_language, words_and_characters


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("The 2nd Cat, don't!", ["the", "2nd", "cat", "don", "t"]),
        ("我在2024年用GPT-4写诗。", ["我", "在", "2024", "年", "用", "gpt", "4", "写", "诗"]),
        ("日本語のカタカナ", list("日本語のカタカナ")),
        ("L'été à Besançon", ["l", "été", "à", "besançon"]),
        ("e\u0301te\u0301", ["été"]),  # letters with combining accents
        ("ＧＰＴ－４", ["gpt", "4"]),  # full width
        ("हिन्दी में", ["हिन्दी", "में"]),  # vowel signs are marks
        ("Привет, мир", ["привет", "мир"]),
        ("한국어 문장", ["한국어", "문장"]),
        ("snake_case", ["snake", "case"]),
        ("𠮷野家", ["𠮷", "野", "家"]),  # beyond the basic plane
        ("คำ", ["ค\u0e4d", "า"]),  # NFKC takes sara am apart; the mark stays with its consonant
        ("…，\u0301 !", []),
        ("", []),
    ],
)
def test_units(text: str, units: list[str]) -> None:
    assert words_and_characters(text) == units


@given(st.text())
def test_units_hold_no_space_and_are_found_again_in_themselves(text: str) -> None:
    units = words_and_characters(text)
    assert all(unit.strip() == unit != "" for unit in units)
    assert words_and_characters(" ".join(units)) == units


@pytest.mark.parametrize(
    ("tag", "language"),
    [
        ("en", "en"),
        ("EN-us", "en"),
        ("zh-Hant-TW", "zh"),
        ("zh_CN", "zh"),
        ("cmn", "zh"),
        ("jpn", "ja"),
        ("haw", "haw"),
    ],
)
def test_the_language_of_a_tag(tag: str, language: str) -> None:
    assert primary_language(tag) == language


@pytest.mark.parametrize("tag", ["", "english", "e", "en-", "zh CN", "12"])
def test_what_is_no_tag_is_refused(tag: str) -> None:
    with pytest.raises(OptionError, match="is no language tag: write it like"):
        primary_language(tag)
