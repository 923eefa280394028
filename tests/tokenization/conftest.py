"""Tokenizers for the tests of this room, each built once."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from tiny_vocabularies import (
    byte_level_vocabulary,
    sentencepiece_metadata,
    word_end_vocabulary,
    write_gguf,
    write_vocabulary,
)
from tokenizers import pre_tokenizers

from gptapps.tokenization.tokenizer import Tokenizer
from tests.peers import their_tokenizer


@pytest.fixture(scope="session")
def smollm(default_gguf: Path) -> Tokenizer:
    return Tokenizer.from_gguf(default_gguf)


@pytest.fixture(scope="session")
def gemma(gemma_gguf: Path) -> Tokenizer:
    return Tokenizer.from_gguf(gemma_gguf)


@pytest.fixture(scope="session")
def smollm_oracle(default_gguf: Path) -> Any:
    oracle = their_tokenizer(default_gguf)
    # transformers splits by GPT-2's pattern alone whatever the file says; the model's own tokenizer.json, and
    # llama.cpp for "smollm", take every digit apart before that.
    oracle.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    return oracle


@pytest.fixture(scope="session")
def gemma_oracle(gemma_gguf: Path) -> Any:
    return their_tokenizer(gemma_gguf)


@pytest.fixture(scope="session")
def gpt2_directory(data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("gpt2")
    shutil.copyfile(data_root / "tokenizers/gpt2/encoder.json", directory / "vocab.json")
    shutil.copyfile(data_root / "tokenizers/gpt2/vocab.bpe", directory / "merges.txt")
    return directory


@pytest.fixture(scope="session")
def gpt1_directory(data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("openai-gpt")
    shutil.copyfile(data_root / "tokenizers/openai-gpt/encoder_bpe_40000.json", directory / "vocab.json")
    shutil.copyfile(data_root / "tokenizers/openai-gpt/vocab_40000.bpe", directory / "merges.txt")
    return directory


@pytest.fixture(scope="session")
def byte_level_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("byte-level")
    write_vocabulary(directory, *byte_level_vocabulary("<|endoftext|>"))
    return directory


@pytest.fixture(scope="session")
def byte_level(byte_level_directory: Path) -> Tokenizer:
    return Tokenizer.from_directory(byte_level_directory)


@pytest.fixture(scope="session")
def word_end(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    directory = tmp_path_factory.mktemp("word-end")
    write_vocabulary(directory, *word_end_vocabulary())
    return Tokenizer.from_directory(directory)


@pytest.fixture(scope="session")
def sentencepiece(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """Byte fallback, no space before a text."""
    path = tmp_path_factory.mktemp("sentencepiece") / "tiny.gguf"
    return Tokenizer.from_gguf(write_gguf(path, sentencepiece_metadata() | {"add_space_prefix": False}))


@pytest.fixture(scope="session")
def prefixed_sentencepiece(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """Byte fallback, a space before a text."""
    path = tmp_path_factory.mktemp("prefixed") / "tiny.gguf"
    return Tokenizer.from_gguf(write_gguf(path, sentencepiece_metadata()))
