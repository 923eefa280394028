"""The bytes of a text's tokens, joined, are the text's bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import decoders

from gptapps.tokenization.token_spelling import byte_of_character, spelled_bytes, spelling_of
from gptapps.tokenization.tokenizer import Tokenizer


def _bytes(tokenizer: Tokenizer, text: str) -> bytes:
    return b"".join(map(tokenizer.token_bytes, tokenizer.encode(text, special_tokens=False)))


@given(text=st.text())
def test_byte_level(byte_level: Tokenizer, text: str) -> None:
    assert _bytes(byte_level, text) == text.encode()


@given(text=st.text())
def test_byte_fallback(sentencepiece: Tokenizer, text: str) -> None:
    assert _bytes(sentencepiece, text) == text.replace("▁", " ").encode()


@given(text=st.text(min_size=1))
def test_byte_fallback_behind_a_space(prefixed_sentencepiece: Tokenizer, text: str) -> None:
    spaced = text.replace("▁", " ")
    assert _bytes(prefixed_sentencepiece, text).removeprefix(b" ") == spaced.encode().removeprefix(b" ")


def test_word_ends_are_spaces(word_end: Tokenizer) -> None:
    assert _bytes(word_end, "The stairs, Bob.") == b"the stairs , bob . "


@pytest.mark.parametrize("text", ["The 3 ferries — 你好, 🦀!", "   x\n\n\t\ty  ", "ﬁ Å 한국어 ١٢٣"])
def test_the_real_vocabularies(smollm: Tokenizer, text: str) -> None:
    assert _bytes(smollm, text) == text.encode()


@pytest.mark.parametrize("text", ["The 3 ferries — 你好, 🦀!", "   x\n\n\t\ty  ", "ﬁ Å 한국어 ١٢٣ \U0001fae8\x07"])
def test_gemma(gemma: Tokenizer, text: str) -> None:
    assert _bytes(gemma, text) == text.encode()


def test_special_and_unknown_ids_stand_for_nothing(byte_level: Tokenizer) -> None:
    assert byte_level.token_bytes(byte_level.eos_ids[0]) == b""
    assert byte_level.token_bytes(byte_level.vocabulary_size) == b""


def test_ids_by_bytes_is_the_inverse(sentencepiece: Tokenizer) -> None:
    found = sentencepiece.ids_by_bytes()
    for token_id in range(sentencepiece.vocabulary_size):
        spelled = sentencepiece.token_bytes(token_id)
        assert (token_id in found.get(spelled, ())) == bool(spelled)
    # "," is a piece of its own and a byte token
    assert len(found[b","]) == 2
    assert list(found[b","]) == sorted(found[b","])


def test_the_byte_table_is_a_bijection() -> None:
    assert sorted(byte_of_character().values()) == list(range(256))


def test_an_added_token_in_a_byte_level_vocabulary_is_plain_text() -> None:
    assert spelled_bytes("<｜end｜>", "byte_level") == "<｜end｜>".encode()


@pytest.mark.parametrize(
    ("decoder", "spelling"),
    [
        (decoders.ByteLevel(), "byte_level"),
        (decoders.Metaspace(), "sentencepiece"),
        (decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()]), "sentencepiece"),
        (decoders.BPEDecoder(suffix="</w>"), "word_end"),
        (None, "verbatim"),
    ],
)
def test_the_decoder_tells_the_spelling(decoder: object, spelling: str) -> None:
    assert spelling_of(decoder) == spelling
