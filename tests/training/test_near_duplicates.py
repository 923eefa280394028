"""Texts that say nearly the same."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from gptapps.training.near_duplicates import near_duplicates

WORDS = [f"word{number}" for number in range(400)]


def text_of(seed: int, length: int = 60) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=length))


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=20, unique=True))
def test_a_text_with_one_word_changed_is_found_and_others_are_not(seeds: list[int]) -> None:
    pool = [text_of(seed) for seed in seeds]
    changed = [" ".join([*text.split()[:-1], "another"]) for text in pool]
    assert near_duplicates(changed, pool) == {place: place for place in range(len(pool))}
    assert near_duplicates([text_of(seed) for seed in range(20_000, 20_020)], pool) == {}


def test_half_of_a_text_is_not_nearly_all_of_it() -> None:
    assert near_duplicates([text_of(1)[:200]], [text_of(1)]) == {}


def test_chinese_is_taken_by_the_character() -> None:
    text = "因为大雾，开往奥斯比的渡轮星期一停开一天，星期二中午恢复，票价不变，请乘客提前到码头。"
    pool = ["今天天气很好，我们去公园散步，回来的时候买了一些水果和面包，晚上一起做饭。", text]
    assert near_duplicates([text.replace("票价", "价格")], pool) == {0: 1}


def test_short_texts_are_left_alone() -> None:
    assert near_duplicates(["It is very good"], ["It is very good"]) == {}
    assert near_duplicates([], []) == {}
    assert near_duplicates([text_of(1)], []) == {}


def test_the_first_of_several_is_named() -> None:
    assert near_duplicates([text_of(1)], [text_of(2), text_of(1), text_of(1)]) == {0: 1}
