"""A summary is cut at a sentence or a word, and summaries of summaries come to an end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptapps import pipeline
from gptapps.decoding.language_model import LanguageModel
from gptapps.pipelines.summarization import shorten


@pytest.mark.parametrize(
    ("text", "words", "expected"),
    [
        ("It rained. Then the sun came out again.", 5, "It rained."),
        ("It rained. Then the sun came out again.", 8, "It rained. Then the sun came out again."),
        ("Then the sun came out again.", 3, "Then the sun"),
        ("Dr. Smith visited the old harbour on Monday and spoke.", 6, "Dr. Smith visited the old harbour"),
        ("今天真好\uff01我们去了海边\uff0c然后回家吃了晚饭。", 10, "今天真好\uff01"),
        (
            "今天真好\uff01我们去了海边\uff0c然后回家吃了晚饭。",
            18,
            "今天真好\uff01我们去了海边\uff0c然后回家吃了晚饭。",
        ),
        ("我们去了海边然后回家", 4, "我们去了"),
    ],
)
def test_a_text_is_shortened_at_a_sentence_or_a_word(text: str, words: int, expected: str) -> None:
    assert shorten(text, words) == expected


@given(st.text(alphabet="ab .!?\n。\uff01\uff0c汉字", max_size=60), st.integers(1, 12))
def test_a_shortened_text_begins_the_text_and_stays_so(text: str, words: int) -> None:
    short = shorten(text, words)
    assert text.startswith(short)
    assert shorten(short, words) == short


def test_summaries_of_summaries_end_where_they_do_not_get_shorter(plain_tiny: LanguageModel) -> None:
    long = {"max_new_tokens": plain_tiny.context_length // 2, "max_words": 1000}
    summary = pipeline("summarize", model=plain_tiny, overflow="chunk", **long)("word " * 500)
    assert summary.usage.chunks > 1
    assert summary.usage.dropped_tokens > 0


def test_summaries_that_get_shorter_drop_nothing(plain_tiny: LanguageModel) -> None:
    summary = pipeline("summarize", model=plain_tiny, max_new_tokens=5, overflow="chunk")("word " * 2000)
    assert summary.usage.chunks > 1
    assert summary.usage.dropped_tokens == 0
