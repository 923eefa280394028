"""Sentences end where a reader would say so, in English and Chinese."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptapps.tokenization.sentences import sentence_ends


@pytest.mark.parametrize(
    "sentences",
    [
        ["It rained. ", "Then the sun came out again."],
        ["Dr. Lind and J. R. Ward came by boat. ", "They left at six!"],
        ["The U.S. Coast Guard said so. ", "Was it true? ", "“Yes.” ", "It was."],
        ["See https://example.org/?q=fog for more. ", "It costs 3.50 a piece."],
        ["今天真好\uff01", "我们去了海边\uff0c然后回家。", "你呢\uff1f", "“很好。”", "他笑了"],
        ["A line without a stop\n", "another one"],
    ],
    ids=["plain", "titles and initials", "initialism and quotation", "url and number", "chinese", "lines"],
)
def test_sentences_end_where_they_end(sentences: list[str]) -> None:
    text = "".join(sentences)
    starts = [0, *sentence_ends(text)]
    cut = [text[start:end].strip() for start, end in pairwise(starts)]
    assert cut == [sentence.strip() for sentence in sentences]


@given(st.text(alphabet="ab .!?\n“”。\uff01\uff1f…汉", max_size=60))
def test_ends_grow_and_the_last_is_the_texts(text: str) -> None:
    ends = sentence_ends(text)
    assert ends == sorted(set(ends))
    assert ends[-1] == len(text) or not text[ends[-1] :].strip()
