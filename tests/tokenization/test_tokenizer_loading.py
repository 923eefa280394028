"""Where a model's tokenizer comes from, and what is kept of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_vocabularies import sentencepiece_metadata, write_gguf

from gptapps.errors import CheckpointError
from gptapps.tokenization.loading import CACHE_VERSION, load_tokenizer
from gptapps.tokenization.tokenizer import Tokenizer


def test_a_directory(byte_level: Tokenizer, byte_level_directory: Path) -> None:
    assert load_tokenizer(byte_level_directory).encode("Bob") == byte_level.encode("Bob")


def test_the_kept_copy_is_used_and_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, derived = write_gguf(tmp_path / "tiny.gguf", sentencepiece_metadata()), tmp_path / "derived"
    kept = derived / f"tokenizer-{CACHE_VERSION}"
    expected = load_tokenizer(path, derived=derived).encode("The ferry")
    with monkeypatch.context() as patch:
        patch.setattr(Tokenizer, "from_gguf", None)
        assert load_tokenizer(path, derived=derived).encode("The ferry") == expected
    (kept / "tokenizer.json").write_text("{", encoding="utf-8")
    assert load_tokenizer(path, derived=derived).encode("The ferry") == expected
    assert Tokenizer.from_directory(kept).encode("The ferry") == expected
    assert list(derived.iterdir()) == [kept]


def test_a_folder_that_cannot_be_written_costs_only_time(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_gguf(tmp_path / "tiny.gguf", sentencepiece_metadata())
    (tmp_path / "file").write_text("no folder", encoding="utf-8")
    expected = Tokenizer.from_gguf(path).encode("The ferry")
    assert load_tokenizer(path, derived=tmp_path / "file" / "derived").encode("The ferry") == expected
    assert "made anew" in caplog.text


def test_a_truncated_file_is_refused_by_name(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "tiny.gguf", sentencepiece_metadata())
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(CheckpointError, match=r"tiny\.gguf"):
        load_tokenizer(path)
