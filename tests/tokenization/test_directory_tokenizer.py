"""Tokenizers out of directories, against transformers on the same files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from tiny_vocabularies import SENTENCES, byte_level_vocabulary, word_end_vocabulary, write_json, write_vocabulary
from transformers import AutoTokenizer, GPT2Tokenizer, OpenAIGPTTokenizer

from gptapps.errors import CheckpointError, ModelNotFoundError, UnsupportedModelError
from gptapps.tokenization.tokenizer import Tokenizer

TEXTS = [
    *SENTENCES,
    "",
    "   two  spaces\n\n\tand a tab ",
    "Ünïcödé naïve ŒUVRE — 中文，日本語 \u200b\u0007🙂",
    "don't won't she's 3,000.50 x_y http://a.b/c?d=e#f",
    "<|endoftext|> <unk> </w>",
]


@pytest.fixture
def directory(tmp_path: Path, byte_level_directory: Path) -> Path:
    """A byte-level vocabulary that a test may add files to."""
    return Path(shutil.copytree(byte_level_directory, tmp_path / "model"))


@pytest.fixture
def json_directory(tmp_path: Path, byte_level: Tokenizer) -> Path:
    """The same as tokenizer.json."""
    byte_level.save(tmp_path / "model")
    return tmp_path / "model"


def _real_texts(data_root: Path) -> list[str]:
    texts = []
    for name in ("summarization/xsum_1k", "qa/cmrc2018", "classification/sst2"):
        path = next(path for path in sorted((data_root / name).iterdir()) if path.suffix == ".jsonl")
        for line in path.read_text(encoding="utf-8").splitlines()[:40]:
            texts += [value for value in json.loads(line).values() if isinstance(value, str)]
    return texts


@pytest.mark.data
def test_the_real_gpt2(gpt2_directory: Path, data_root: Path) -> None:
    tokenizer = Tokenizer.from_directory(gpt2_directory)
    oracle = GPT2Tokenizer.from_pretrained(gpt2_directory)
    for text in TEXTS + _real_texts(data_root):
        ids = oracle(text)["input_ids"]
        assert tokenizer.encode(text) == ids
        assert tokenizer.decode(ids, skip_special_tokens=False) == oracle.decode(ids) == text
    assert tokenizer.vocabulary_size == 50257
    assert (tokenizer.bos_id, tokenizer.eos_ids, tokenizer.pad_id) == (50256, (50256,), None)


@pytest.mark.data
def test_the_real_gpt1(gpt1_directory: Path, data_root: Path) -> None:
    tokenizer = Tokenizer.from_directory(gpt1_directory)
    oracle = OpenAIGPTTokenizer.from_pretrained(gpt1_directory)
    for text in TEXTS + _real_texts(data_root):
        ids = oracle(text)["input_ids"]
        assert tokenizer.encode(text) == ids
        assert tokenizer.decode(ids, skip_special_tokens=False) == oracle.decode(ids)
    assert tokenizer.vocabulary_size == 40478
    assert (tokenizer.bos_id, tokenizer.eos_ids) == (None, ())


def test_word_end_vocabulary(tmp_path: Path, word_end: Tokenizer) -> None:
    vocabulary, merges = word_end_vocabulary()
    oracle = OpenAIGPTTokenizer(vocab=vocabulary, merges=merges)
    for text in TEXTS:
        assert word_end.encode(text) == oracle(text)["input_ids"]
    assert word_end.decode(word_end.encode("She waited.")) == "she waited ."


def test_word_ends_without_an_unknown_token(tmp_path: Path) -> None:
    write_vocabulary(tmp_path, {"a": 0, "b</w>": 1, "ab</w>": 2}, [("a", "b</w>")])
    assert Tokenizer.from_directory(tmp_path).encode("AB, ab") == [2, 2]


def test_prefix_space(directory: Path) -> None:
    write_json(directory / "tokenizer_config.json", {"add_prefix_space": True})
    tokenizer = Tokenizer.from_directory(directory)
    assert tokenizer.encode("The ferry") == tokenizer.encode(" The ferry")


def test_tokenizer_json(json_directory: Path) -> None:
    tokenizer, oracle = Tokenizer.from_directory(json_directory), AutoTokenizer.from_pretrained(json_directory)
    for text in TEXTS:
        assert tokenizer.encode(text) == oracle(text)["input_ids"]


def test_tokenizer_json_goes_before_vocab_json(json_directory: Path) -> None:
    write_vocabulary(json_directory, {"a": 0}, [])
    assert Tokenizer.from_directory(json_directory).vocabulary_size > 1


def test_padding_and_truncation_in_the_file_do_not_apply(json_directory: Path) -> None:
    path = json_directory / "tokenizer.json"
    backend = tokenizers.Tokenizer.from_file(str(path))
    backend.enable_padding(length=64)
    backend.enable_truncation(max_length=2)
    backend.save(str(path))
    tokenizer = Tokenizer.from_directory(json_directory)
    assert tokenizer.decode(tokenizer.encode(SENTENCES[0])) == SENTENCES[0]
    assert [len(ids) for ids in tokenizer.encode_batch([SENTENCES[0], "a"])][1] == 1


@pytest.mark.parametrize(("bos", "eos"), [(True, False), (False, True), (True, True), (False, False)])
def test_begin_and_end_around_a_vocabulary_without_tokenizer_json(directory: Path, bos: bool, eos: bool) -> None:
    end = {"content": "</s>", "__type": "AddedToken"}
    config = {"bos_token": "<s>", "eos_token": end, "add_bos_token": bos, "add_eos_token": eos}
    write_json(directory / "tokenizer_config.json", config)
    tokenizer, oracle = Tokenizer.from_directory(directory), GPT2Tokenizer.from_pretrained(directory)
    ids = tokenizer.encode("The ferry")
    assert ids == oracle("The ferry")["input_ids"]
    assert (ids[0] == tokenizer.bos_id, ids[-1] in tokenizer.eos_ids) == (bos, eos)


def test_tokenizer_json_says_what_goes_around_a_text(json_directory: Path) -> None:
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "add_bos_token": True}
    write_json(json_directory / "tokenizer_config.json", config)
    tokenizer, oracle = Tokenizer.from_directory(json_directory), AutoTokenizer.from_pretrained(json_directory)
    assert tokenizer.bos_id not in tokenizer.encode("The ferry") == oracle("The ferry")["input_ids"]


def test_declared_tokens_are_added(json_directory: Path) -> None:
    size = Tokenizer.from_directory(json_directory).vocabulary_size
    entries = {
        str(size + 1): {"content": "<tool>", "special": False, "normalized": False, "rstrip": True},
        str(size): {"content": "<turn>", "special": True},
    }
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "added_tokens_decoder": entries, "pad_token": "<pad>"}
    write_json(json_directory / "tokenizer_config.json", config)
    tokenizer, oracle = Tokenizer.from_directory(json_directory), AutoTokenizer.from_pretrained(json_directory)
    text = "a<turn> b <tool>   c<pad>"
    assert tokenizer.encode(text) == oracle(text)["input_ids"]
    assert tokenizer.vocabulary_size == size + 3
    assert tokenizer.pad_id == size + 2
    assert {size, size + 2} <= tokenizer.special_ids
    assert size + 1 not in tokenizer.special_ids


def test_added_tokens_json(directory: Path) -> None:
    size = Tokenizer.from_directory(directory).vocabulary_size
    write_json(directory / "added_tokens.json", {"<second>": size + 1, "<first>": size})
    assert Tokenizer.from_directory(directory).encode("<second><first>") == [size + 1, size]


def test_special_tokens_map(directory: Path) -> None:
    write_json(directory / "special_tokens_map.json", {"pad_token": "<pad>", "bos_token": {"content": "<s>"}})
    tokenizer = Tokenizer.from_directory(directory)
    assert tokenizer.encode("<pad><s>") == [tokenizer.pad_id, tokenizer.bos_id]


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, (0,)),
        ({"generation_config.json": {"eos_token_id": 7}}, (0, 7)),
        ({"generation_config.json": {"eos_token_id": [7, 0, 9]}}, (0, 7, 9)),
        ({"generation_config.json": {"eos_token_id": None}}, (0,)),
        ({"config.json": {"eos_token_id": 5}}, (0, 5)),
        ({"config.json": {"eos_token_id": 5}, "generation_config.json": {"eos_token_id": 7}}, (0, 7)),
    ],
)
def test_what_ends_a_generation(directory: Path, files: dict[str, Any], expected: tuple[int, ...]) -> None:
    for name, content in files.items():
        write_json(directory / name, content)
    assert Tokenizer.from_directory(directory).eos_ids == expected


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ("one", "one"),
        ([{"name": "tool_use", "template": "two"}, {"name": "default", "template": "three"}], "three"),
        ([{"name": "tool_use", "template": "two"}], None),
        (None, None),
    ],
)
def test_chat_template_in_the_configuration(directory: Path, declared: Any, expected: str | None) -> None:
    write_json(directory / "tokenizer_config.json", {"chat_template": declared})
    assert Tokenizer.from_directory(directory).chat_template == expected


def test_the_chat_template_file_goes_first(directory: Path) -> None:
    write_json(directory / "tokenizer_config.json", {"chat_template": "old"})
    (directory / "chat_template.jinja").write_text("new", encoding="utf-8")
    assert Tokenizer.from_directory(directory).chat_template == "new"


def test_no_directory(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="no-such"):
        Tokenizer.from_directory(tmp_path / "no-such")


@pytest.mark.parametrize("name", ["vocab.json", "merges.txt"])
def test_half_a_vocabulary(directory: Path, name: str) -> None:
    (directory / name).unlink()
    with pytest.raises(ModelNotFoundError, match=r"tokenizer\.json, or vocab\.json and merges\.txt"):
        Tokenizer.from_directory(directory)


def test_only_a_sentencepiece_file(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(b"\x0a")
    with pytest.raises(UnsupportedModelError, match=r"tokenizer\.model.*AutoTokenizer"):
        Tokenizer.from_directory(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("tokenizer.json", "{", "no tokenizer file"),
        ("vocab.json", '{"a": 0,\n "b" 1}', "line 2, column 6 is no JSON"),
        ("vocab.json", "[]", "JSON object"),
        ("vocab.json", "{}", "no vocabulary"),
        ("vocab.json", '{"a": "b"}', "no vocabulary"),
        ("vocab.json", '{"a": 0}', "doesn't fit vocab.json"),
        ("merges.txt", "#version: 0.2\na b\nabc\n", "line 3 is no merge"),
        ("merges.txt", "a b c\n", "line 1 is no merge"),
        ("tokenizer_config.json", "no", "line 1, column 1 is no JSON"),
        ("tokenizer_config.json", '{"added_tokens_decoder": {"x": {}}}', "added tokens"),
        ("added_tokens.json", '{"a": "x"}', "added tokens"),
        ("generation_config.json", '{"eos_token_id": "x"}', "eos_token_id is 'x'"),
    ],
)
def test_a_broken_file_is_named(directory: Path, name: str, content: str, words: str) -> None:
    (directory / name).write_text(content, encoding="utf-8")
    with pytest.raises(CheckpointError, match=words) as caught:
        Tokenizer.from_directory(directory)
    assert name in str(caught.value)


def test_a_file_in_another_encoding_is_named(directory: Path) -> None:
    (directory / "merges.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(CheckpointError, match=r"merges\.txt can't be read"):
        Tokenizer.from_directory(directory)


def test_the_tiny_vocabulary_against_transformers(byte_level: Tokenizer) -> None:
    vocabulary, merges = byte_level_vocabulary("<|endoftext|>")
    oracle = GPT2Tokenizer(vocab=vocabulary, merges=merges)
    for text in TEXTS:
        assert byte_level.encode(text) == oracle(text)["input_ids"]
