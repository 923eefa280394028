"""Tokenizers out of GGUF files, against what transformers makes of the same files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_vocabularies import (
    CONTROL,
    NORMAL,
    SENTENCES,
    USER_DEFINED,
    byte_level_metadata,
    byte_level_vocabulary,
    sentencepiece_metadata,
    write_gguf,
)
from transformers import Qwen2Tokenizer

from gptapps.errors import CheckpointError, UnsupportedModelError
from gptapps.tokenization.tokenizer import Tokenizer
from tests.peers import their_tokenizer

TEXTS = [
    *SENTENCES,
    "",
    " ",
    "In 1969, 3.14 and 1,000,000 — ½ of Ⅻ, ٣٤.",
    "a  12   345\n 6\n\n\n7\t8",
    "x" + " " * 70 + "y" + "\n" * 40 + "\t" * 40,
    "def area(r: float) -> float:\n\treturn 3.14159 * r ** 2  # πr²\r\n",
    "今天天气很好，我们去公园吧！価格は1,500円です。서울은 크다.",
    "👩‍👩‍👧 🏳️‍🌈 🙂🙂 \U0001fae8 \U00020000",
    "e\u0301 Å ﬁ ﷽ \u200d\u00a0\u3000|",
    "<|im_start|>user\nHi<|im_end|>\n<|endoftext|>",
    "<bos><start_of_turn>user\nHi<end_of_turn><eos><unused7><table></table>[multimodal]",
    "</s> <0x0A> <0xE4>",
]


def _read(path: Path) -> Tokenizer:
    return Tokenizer.from_gguf(path)


class TestSmolLM2:
    @pytest.mark.parametrize("text", TEXTS)
    def test_ids_and_text(self, smollm: Tokenizer, smollm_oracle: Any, text: str) -> None:
        assert smollm.encode(text) == smollm_oracle(text)["input_ids"]
        assert smollm.decode(smollm.encode(text)) == smollm_oracle.decode(
            smollm_oracle(text)["input_ids"], skip_special_tokens=True
        )

    @given(text=st.text(st.sampled_from("ab Z09\n\t.,'<|>你好é½🙂"), max_size=40))
    def test_ids_of_any_text(self, smollm: Tokenizer, smollm_oracle: Any, text: str) -> None:
        assert smollm.encode(text) == smollm_oracle(text)["input_ids"]

    def test_digits_stand_alone_and_leave_the_spaces_before_them_together(self, smollm: Tokenizer) -> None:
        assert [smollm.token_bytes(token) for token in smollm.encode("a  12")] == [b"a", b"  ", b"1", b"2"]

    def test_special_tokens(self, smollm: Tokenizer) -> None:
        assert (smollm.bos_id, smollm.eos_ids, smollm.pad_id) == (1, (2,), 2)
        assert smollm.vocabulary_size == 49152
        assert smollm.encode("Hi") == smollm.encode("Hi", special_tokens=False)

    def test_its_chat_template(self, smollm: Tokenizer, smollm_oracle: Any) -> None:
        for messages in (
            [{"role": "user", "content": "Hi"}],
            [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
        ):
            assert smollm.render_chat(messages) == smollm_oracle.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True
            )


class TestGemma:
    @pytest.mark.parametrize("text", TEXTS)
    def test_ids_and_text(self, gemma: Tokenizer, gemma_oracle: Any, text: str) -> None:
        assert gemma.encode(text) == gemma_oracle(text)["input_ids"]
        assert gemma.decode(gemma.encode(text)) == gemma_oracle.decode(
            gemma_oracle(text)["input_ids"], skip_special_tokens=True
        )

    @given(text=st.text(st.sampled_from("ab Z09\n\t.,'<|>你好é½🙂"), max_size=40))
    def test_ids_of_any_text(self, gemma: Tokenizer, gemma_oracle: Any, text: str) -> None:
        assert gemma.encode(text) == gemma_oracle(text)["input_ids"]

    def test_special_tokens(self, gemma: Tokenizer) -> None:
        assert (gemma.bos_id, gemma.eos_ids, gemma.pad_id) == (2, (1,), 0)
        assert gemma.vocabulary_size == 262144
        assert gemma.encode("Hi") == [2, *gemma.encode("Hi", special_tokens=False)]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("split", ["gpt-2", "default"])
def test_byte_level(tmp_path: Path, split: str, text: str) -> None:
    path = write_gguf(tmp_path / "tiny.gguf", byte_level_metadata("<|endoftext|>") | {"pre": split})
    assert _read(path).encode(text) == their_tokenizer(path)(text)["input_ids"]


@pytest.fixture(scope="module")
def qwen2(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    path = tmp_path_factory.mktemp("qwen2") / "tiny.gguf"
    return _read(write_gguf(path, byte_level_metadata("<|endoftext|>") | {"pre": "qwen2"}))


@pytest.fixture(scope="module")
def qwen2_oracle() -> Any:
    vocabulary, merges = byte_level_vocabulary("<|endoftext|>")
    return Qwen2Tokenizer(vocab=vocabulary, merges=merges)


@given(text=st.text(st.sampled_from("abs Z09\n\r.'!你ée\u0301Å½")))
def test_qwen2_composes_accents_and_splits_as_qwen2_does(qwen2: Tokenizer, qwen2_oracle: Any, text: str) -> None:
    assert qwen2.encode(text) == qwen2_oracle(text)["input_ids"]


@pytest.mark.parametrize("text", TEXTS)
def test_llama3_splits_numbers_by_three(tmp_path: Path, text: str) -> None:
    metadata = byte_level_metadata("<|begin_of_text|>", "<|endoftext|>") | {"pre": "llama-bpe", "bos_token_id": 0}
    path = write_gguf(tmp_path / "tiny.gguf", metadata | {"add_bos_token": True})
    tokenizer, oracle = _read(path), their_tokenizer(path)
    # transformers merges every word; the model's own tokenizer.json takes a word that is a token as it is.
    oracle.backend_tokenizer.model.ignore_merges = True
    assert tokenizer.encode(text) == oracle(text)["input_ids"]


def test_llama3_begins_a_text_without_being_told(tmp_path: Path) -> None:
    metadata = byte_level_metadata("<|begin_of_text|>") | {"pre": "llama-bpe", "bos_token_id": 0}
    tokenizer = _read(write_gguf(tmp_path / "tiny.gguf", metadata))
    assert tokenizer.encode("Hi")[0] == tokenizer.bos_id == 0
    assert 0 not in tokenizer.encode("Hi", special_tokens=False)


def test_llama3_takes_a_word_that_is_a_token_as_it_is(tmp_path: Path) -> None:
    metadata = byte_level_metadata() | {"pre": "llama-bpe"}
    metadata["tokens"].append("qzqz")  # no merge leads there
    metadata["token_type"].append(NORMAL)
    tokenizer = _read(write_gguf(tmp_path / "tiny.gguf", metadata))
    assert tokenizer.encode("qzqz", special_tokens=False) == [tokenizer.vocabulary_size - 1]


@pytest.mark.parametrize("text", TEXTS)
def test_sentencepiece_behind_a_space(tmp_path: Path, text: str) -> None:
    path = write_gguf(tmp_path / "tiny.gguf", sentencepiece_metadata())
    tokenizer, oracle = _read(path), their_tokenizer(path)
    ids = tokenizer.encode(text)
    assert ids[0] == tokenizer.bos_id
    assert tokenizer.decode(ids) == oracle.decode(ids, skip_special_tokens=True)
    if "  " not in text:  # transformers loses the token for a run of spaces here
        assert ids == oracle(text)["input_ids"]


@pytest.mark.parametrize("text", TEXTS)
def test_sentencepiece_without_the_space(
    sentencepiece: Tokenizer, prefixed_sentencepiece: Tokenizer, text: str
) -> None:
    ids = sentencepiece.encode(text, special_tokens=False)
    assert sentencepiece.decode(ids, skip_special_tokens=False) == text
    if text and not text.startswith((" ", "<")):
        assert sentencepiece.encode(" " + text) == prefixed_sentencepiece.encode(text)


def test_a_run_of_spaces_that_is_a_token_is_found(sentencepiece: Tokenizer) -> None:
    assert b"  " in [sentencepiece.token_bytes(token) for token in sentencepiece.encode("row  total")]


def test_control_tokens_are_special_and_user_defined_ones_are_text(sentencepiece: Tokenizer) -> None:
    ids = sentencepiece.encode("a<table>b</s>", special_tokens=False)
    table = sentencepiece_metadata()["tokens"].index("<table>")
    assert table in ids
    assert ids[-1] in sentencepiece.special_ids
    assert table not in sentencepiece.special_ids
    assert sentencepiece.decode(ids) == "a<table>b"


def test_every_end_token_ends_a_generation(tmp_path: Path) -> None:
    metadata = byte_level_metadata("<a>", "<b>", "<c>")
    metadata |= {"eos_token_id": 1, "eot_token_id": 0, "eom_token_id": 2}
    assert _read(write_gguf(tmp_path / "tiny.gguf", metadata)).eos_ids == (1, 0, 2)


def test_the_chat_template_comes_along(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "tiny.gguf", byte_level_metadata(), chat_template="{{ messages[0].content }}")
    assert _read(path).render_chat([{"role": "user", "content": "Hi"}]) == "Hi"


def test_a_special_token_outside_the_byte_alphabet(tmp_path: Path) -> None:
    metadata = byte_level_metadata()
    metadata["tokens"].append("<｜end｜>")
    metadata["token_type"].append(CONTROL)
    tokenizer = _read(write_gguf(tmp_path / "tiny.gguf", metadata))
    assert tokenizer.encode("<｜end｜>") == [tokenizer.vocabulary_size - 1]
    assert tokenizer.decode([tokenizer.vocabulary_size - 1]) == ""


def _without(metadata: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in metadata.items() if name != key}


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        (_without(byte_level_metadata(), "tokens"), "no tokenizer.ggml.tokens"),
        (_without(byte_level_metadata(), "model"), "no tokenizer.ggml.model"),
        (_without(byte_level_metadata(), "merges"), "no tokenizer.ggml.merges"),
        (_without(sentencepiece_metadata(), "scores"), "no tokenizer.ggml.scores"),
        (byte_level_metadata() | {"merges": ["no such"]}, "merges doesn't fit"),
        (byte_level_metadata() | {"merges": ["alone"]}, "merges doesn't fit"),
        (byte_level_metadata() | {"token_type": [USER_DEFINED]}, "token types"),
        (sentencepiece_metadata() | {"scores": [0.0]}, "scores"),
        (byte_level_metadata() | {"eos_token_id": 100_000}, "eos_token_id is 100000"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, metadata: dict[str, Any], words: str) -> None:
    with pytest.raises(CheckpointError, match=words) as caught:
        _read(write_gguf(tmp_path / "tiny.gguf", metadata))
    assert "tiny.gguf" in str(caught.value)


@pytest.mark.parametrize(("changes", "words"), [({"pre": "elvish"}, "'elvish'"), ({"model": "bert"}, "'bert'")])
def test_an_unknown_kind_is_refused(tmp_path: Path, changes: dict[str, str], words: str) -> None:
    with pytest.raises(UnsupportedModelError, match=words):
        _read(write_gguf(tmp_path / "tiny.gguf", byte_level_metadata() | changes))
