"""Merges derived from a vocabulary do what SentencePiece does with its scores."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models

from gptapps.tokenization.merges import FIRST, derive_merges


def _joined_by_score(text: str, scores: dict[str, float]) -> list[str]:
    """SentencePiece's BPE in words: join the two neighbours whose union scores highest, leftmost first."""
    symbols = list(text)
    while True:
        candidates = [
            (-scores[left + right], place)
            for place, (left, right) in enumerate(pairwise(symbols))
            if left + right in scores
        ]
        if not candidates:
            return symbols
        _, place = min(candidates)
        symbols[place : place + 2] = [symbols[place] + symbols[place + 1]]


@given(
    pieces=st.lists(st.text("abc", min_size=2, max_size=4), unique=True, max_size=12),
    text=st.text("abc", max_size=12),
)
def test_merging_follows_the_scores(pieces: list[str], text: str) -> None:
    vocabulary = {piece: token_id for token_id, piece in enumerate([*"abc", *pieces])}
    scores = {piece: -float(rank) for rank, piece in enumerate(pieces)}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=derive_merges(vocabulary, scores)))
    reachable = _joined_by_score(text, scores)
    assert backend.encode(text).tokens == reachable


def test_a_token_outside_the_scores_is_never_produced() -> None:
    assert derive_merges({"a": 0, "b": 1, "ab": 2}, {}) == []


def test_user_defined_tokens_come_before_all_scores() -> None:
    vocabulary = {"a": 0, "b": 1, "ab": 2, "ba": 3}
    assert derive_merges(vocabulary, {"ab": 5.0, "ba": FIRST}) == [("b", "a"), ("a", "b")]


def test_equal_scores_go_by_id_and_cuts_by_the_longer_left_piece() -> None:
    vocabulary = {"a": 0, "aa": 1, "aaa": 2, "b": 3, "ab": 4}
    assert derive_merges(vocabulary, {"ab": 0.0, "aaa": 0.0}) == [("aa", "a"), ("a", "aa"), ("a", "b")]
