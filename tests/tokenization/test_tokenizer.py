"""What every tokenizer does, wherever it came from."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_vocabularies import SENTENCES, byte_level_metadata, sentencepiece_metadata, write_gguf, write_json
from transformers import AutoTokenizer

from gptapps.errors import CapabilityError, DataError, ResourceError
from gptapps.tokenization.loading import load_tokenizer
from gptapps.tokenization.tokenizer import Tokenizer

ALL = ("byte_level", "word_end", "sentencepiece", "prefixed_sentencepiece")


@pytest.fixture(params=ALL)
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    found: Tokenizer = request.getfixturevalue(request.param)
    return found


@given(texts=st.lists(st.text(max_size=20), max_size=5), special=st.booleans())
def test_a_batch_is_its_texts(tokenizer: Tokenizer, texts: list[str], special: bool) -> None:
    alone = [tokenizer.encode(text, special_tokens=special) for text in texts]
    assert tokenizer.encode_batch(texts, special_tokens=special) == alone


@given(text=st.text())
def test_round_trip(byte_level: Tokenizer, sentencepiece: Tokenizer, text: str) -> None:
    assert byte_level.decode(byte_level.encode(text)) == text
    assert sentencepiece.decode(sentencepiece.encode(text)) == text.replace("▁", " ")


@given(text=st.text())
def test_offsets_cover_the_text(byte_level: Tokenizer, text: str) -> None:
    offsets = byte_level.offsets(text)
    assert len(offsets) == len(byte_level.encode(text))
    assert {place for start, end in offsets for place in range(start, end)} == set(range(len(text)))
    assert offsets == sorted(offsets)


def test_offsets_count_code_points(byte_level: Tokenizer) -> None:
    text = "去🙂 The ferry"
    offsets = byte_level.offsets(text)
    assert (offsets[0], offsets[-1][1]) == ((0, 1), len(text))
    for token_id, (start, end) in zip(byte_level.encode(text), offsets, strict=True):
        assert byte_level.token_bytes(token_id) in text[start:end].encode()


def test_offsets_of_added_tokens_are_empty(sentencepiece: Tokenizer) -> None:
    assert sentencepiece.offsets("Bob")[0] == (0, 0)
    assert (0, 0) not in sentencepiece.offsets("Bob", special_tokens=False)


def test_unknown_ids_leave_no_text(byte_level: Tokenizer) -> None:
    assert byte_level.decode([byte_level.vocabulary_size, *byte_level.encode("Bob")]) == "Bob"


@pytest.mark.parametrize("text", [None, 7, b"bytes", ["list"]])
def test_what_is_no_string_is_refused(byte_level: Tokenizer, text: Any) -> None:
    for call in (byte_level.encode, byte_level.offsets):
        with pytest.raises(DataError, match=f"is a {type(text).__name__}"):
            call(text)
    with pytest.raises(DataError, match="Text 2 is a"):
        byte_level.encode_batch(["fine", text])


def test_a_lone_surrogate_is_shown(byte_level: Tokenizer) -> None:
    with pytest.raises(DataError, match=r"position 3.*U\+D83D"):
        byte_level.encode("abc\ud83d")
    with pytest.raises(DataError, match=r"Text 2 .*position 0.*U\+DE42"):
        byte_level.encode_batch(["abc", "\ude42"])


def test_one_text_is_no_batch(byte_level: Tokenizer) -> None:
    with pytest.raises(DataError, match="list of texts"):
        byte_level.encode_batch("abc")


def test_threads_share_a_tokenizer(sentencepiece: Tokenizer) -> None:
    expected = [sentencepiece.encode(sentence) for sentence in SENTENCES]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(20):
            assert list(pool.map(sentencepiece.encode, SENTENCES)) == expected


class TestSave:
    @pytest.mark.parametrize("name", [*ALL, "smollm"])
    def test_both_libraries_read_it_back(self, request: pytest.FixtureRequest, tmp_path: Path, name: str) -> None:
        _check_saved(request.getfixturevalue(name), tmp_path)

    def test_gemma(self, gemma: Tokenizer, tmp_path: Path) -> None:
        _check_saved(gemma, tmp_path)

    def test_further_end_tokens(self, byte_level_directory: Path, tmp_path: Path) -> None:
        metadata = byte_level_metadata("<a>", "<b>") | {"eos_token_id": 1, "eot_token_id": 0}
        tokenizer = load_tokenizer(write_gguf(tmp_path / "tiny.gguf", metadata))
        write_json(tmp_path / "generation_config.json", {"temperature": 0.5, "eos_token_id": 1})
        tokenizer.save(tmp_path)
        assert Tokenizer.from_directory(tmp_path).eos_ids == tokenizer.eos_ids == (1, 0)
        assert '"temperature": 0.5' in (tmp_path / "generation_config.json").read_text()

    def test_chat_template(self, tmp_path: Path) -> None:
        template = "{{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}"
        path = write_gguf(tmp_path / "tiny.gguf", sentencepiece_metadata(), chat_template=template)
        load_tokenizer(path).save(tmp_path)
        messages = [{"role": "user", "content": "Hi"}]
        assert Tokenizer.from_directory(tmp_path).render_chat(messages) == "<s><user>Hi\n"
        assert AutoTokenizer.from_pretrained(tmp_path).apply_chat_template(messages, tokenize=False) == "<s><user>Hi\n"

    def test_where_no_directory_can_be(self, byte_level: Tokenizer, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(ResourceError, match="can't be written"):
            byte_level.save(tmp_path / "file")


def _check_saved(tokenizer: Tokenizer, directory: Path) -> None:
    tokenizer.save(directory)
    ours, theirs = Tokenizer.from_directory(directory), AutoTokenizer.from_pretrained(directory)
    for text in [*SENTENCES, "", " a  b\n\n", "🦀 <s> <|endoftext|>"]:
        ids = tokenizer.encode(text)
        assert ours.encode(text) == ids
        assert theirs(text)["input_ids"] == ids
        assert theirs(text, add_special_tokens=False)["input_ids"] == tokenizer.encode(text, special_tokens=False)
        assert theirs.decode(ids, skip_special_tokens=True) == ours.decode(ids) == tokenizer.decode(ids)
    assert (theirs.bos_token_id, theirs.pad_token_id) == (tokenizer.bos_id, tokenizer.pad_id)
    for attribute in ("bos_id", "eos_ids", "pad_id", "special_ids", "vocabulary_size", "chat_template"):
        assert getattr(ours, attribute) == getattr(tokenizer, attribute)


def test_no_chat_without_a_template(byte_level: Tokenizer) -> None:
    assert not byte_level.supports_system_role
    with pytest.raises(CapabilityError, match=r"no chat template.*gptapps models pull"):
        byte_level.render_chat([{"role": "user", "content": "Hi"}])


def test_importing_it_is_light() -> None:
    code = (
        "import sys, gptapps.tokenization.tokenizer\n"
        "print(sorted({'torch', 'transformers', 'gguf', 'jinja2'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
