"""Streamed text is the decoded text, and characters come whole."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptapps.tokenization.tokenizer import Tokenizer

TINY = ("byte_level", "word_end", "sentencepiece", "prefixed_sentencepiece")


@pytest.fixture(params=TINY)
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    found: Tokenizer = request.getfixturevalue(request.param)
    return found


def _pieces(tokenizer: Tokenizer, ids: Sequence[int], *, skip_special_tokens: bool = True) -> list[str]:
    stream = tokenizer.stream(skip_special_tokens=skip_special_tokens)
    return [*(stream.push(token_id) for token_id in ids), stream.finish()]


@given(data=st.data(), skip=st.booleans())
def test_joined_pieces_are_the_decoded_ids(tokenizer: Tokenizer, data: st.DataObject, skip: bool) -> None:
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocabulary_size - 1), max_size=30))
    pieces = _pieces(tokenizer, ids, skip_special_tokens=skip)
    assert "".join(pieces) == tokenizer.decode(ids, skip_special_tokens=skip)


@given(data=st.data())
def test_joined_pieces_are_the_decoded_ids_among_byte_tokens(sentencepiece: Tokenizer, data: st.DataObject) -> None:
    byte_ids = [i for i in range(sentencepiece.vocabulary_size) if len(sentencepiece.token_bytes(i)) == 1]
    ids = data.draw(st.lists(st.sampled_from(byte_ids), max_size=20))
    assert "".join(_pieces(sentencepiece, ids)) == sentencepiece.decode(ids)


@given(text=st.text())
def test_no_piece_tears_a_character(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    pieces = _pieces(tokenizer, ids)
    decoded = tokenizer.decode(ids)
    assert "".join(pieces) == decoded
    assert sum(piece.count("\ufffd") for piece in pieces) == decoded.count("\ufffd")


def test_text_appears_while_ids_arrive(byte_level: Tokenizer) -> None:
    ids = byte_level.encode("The ferry 🦀 leaves")
    stream = byte_level.stream()
    shown = [stream.push(token_id) for token_id in ids]
    assert "".join(shown) == "The ferry 🦀 leaves"
    assert stream.finish() == ""
    assert "" in shown, "the crab's four bytes are not in one token"


def test_a_spaceless_last_word_waits_for_nothing(word_end: Tokenizer) -> None:
    stream = word_end.stream()
    assert "".join(stream.push(token_id) for token_id in word_end.encode("The stairs")) == "the stairs"


def test_special_tokens_are_skipped_or_shown(byte_level: Tokenizer) -> None:
    ids = byte_level.encode("Dark<|endoftext|> stairs")
    assert "".join(_pieces(byte_level, ids)) == "Dark stairs"
    assert "".join(_pieces(byte_level, ids, skip_special_tokens=False)) == "Dark<|endoftext|> stairs"


def test_a_special_token_between_the_bytes_of_a_character_does_not_tear_it(sentencepiece: Tokenizer) -> None:
    first, *rest = sentencepiece.encode("🦀", special_tokens=False)
    assert "".join(_pieces(sentencepiece, [first, sentencepiece.eos_ids[0], *rest])) == "🦀"


def test_an_unfinished_character_comes_at_the_end(byte_level: Tokenizer) -> None:
    ids = byte_level.encode("🦀")[:-1]
    *pieces, rest = _pieces(byte_level, ids)
    assert "".join(pieces) == ""
    assert rest == byte_level.decode(ids) == "\ufffd"


def test_a_finished_stream_starts_over(prefixed_sentencepiece: Tokenizer) -> None:
    stream = prefixed_sentencepiece.stream()
    ids = prefixed_sentencepiece.encode("The island")
    for _ in range(2):
        assert "".join(stream.push(token_id) for token_id in ids) + stream.finish() == "The island"


@pytest.mark.data
def test_real_text_in_chinese_and_english(smollm: Tokenizer, data_root: Path) -> None:
    lines = (data_root / "summarization/lcsts_part3/test.jsonl").read_text(encoding="utf-8").splitlines()[:60]
    lines += (data_root / "translation/wmt19_zh-en/test.jsonl").read_text(encoding="utf-8").splitlines()[:60]
    for text in (value for line in lines for value in json.loads(line).values() if isinstance(value, str)):
        ids = smollm.encode(text)
        pieces = _pieces(smollm, ids)
        assert "".join(pieces) == smollm.decode(ids)
        assert not any("\ufffd" in piece for piece in pieces)
