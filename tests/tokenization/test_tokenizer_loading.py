"""Where a model's tokenizer comes from, and what is kept of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_vocabularies import sentencepiece_metadata, write_gguf

from gptapps.tokenization.loading import load_tokenizer
from gptapps.tokenization.tokenizer import Tokenizer


def test_a_directory(byte_level: Tokenizer, byte_level_directory: Path) -> None:
    assert load_tokenizer(byte_level_directory).encode("Bob") == byte_level.encode("Bob")


def test_the_kept_copy_is_used_and_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, cache = write_gguf(tmp_path / "tiny.gguf", sentencepiece_metadata()), tmp_path / "cache"
    expected = load_tokenizer(path, cache=cache).encode("The ferry")
    with monkeypatch.context() as patch:
        patch.setattr(Tokenizer, "from_gguf", None)
        assert load_tokenizer(path, cache=cache).encode("The ferry") == expected
    (cache / "tokenizer.json").write_text("{", encoding="utf-8")
    assert load_tokenizer(path, cache=cache).encode("The ferry") == expected
    assert Tokenizer.from_directory(cache).encode("The ferry") == expected
    assert sorted(tmp_path.iterdir()) == [cache, path]
