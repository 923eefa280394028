"""Vocabularies of a few hundred tokens, written as the files a checkpoint would have."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import gguf
import tokenizers
from tokenizers import models, normalizers, pre_tokenizers, trainers

SENTENCES = [
    "The ferry to the island leaves at 7:45 and comes back before dark.",
    "She couldn't find her keys, so she waited on the stairs for an hour.",
    "    for row in rows:\n        total += row.price * 3  # cents",
    "我们明天去海边，如果下雨就待在家里看书。",
    "Die Brücke wurde 1932 gebaut und 2004 erneuert.",
    "Merci beaucoup ! Ça va très bien, et toi ? 🙂🙂",
    "they're here; I've seen it, we'll go; it's Bob's.",
]

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6


# Training isn't deterministic: whoever asks twice in a run has to get the same vocabulary.
@cache
def byte_level_vocabulary(*special: str) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """A byte-level BPE vocabulary, ``special`` first."""
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return _trained(backend, list(special), initial_alphabet=pre_tokenizers.ByteLevel.alphabet())


@cache
def word_end_vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """A vocabulary like GPT-1's: lower case, ``</w>`` at the end of words."""
    backend = tokenizers.Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return _trained(backend, ["<unk>"], end_of_word_suffix="</w>")


def _trained(
    backend: tokenizers.Tokenizer, special: list[str], **options: Any
) -> tuple[dict[str, int], list[tuple[str, str]]]:
    trainer = trainers.BpeTrainer(vocab_size=500, special_tokens=special, show_progress=False, **options)
    backend.train_from_iterator(SENTENCES, trainer)
    model = json.loads(backend.to_str())["model"]
    return model["vocab"], [tuple(merge) for merge in model["merges"]]


def write_vocabulary(directory: Path, vocabulary: dict[str, int], merges: list[tuple[str, str]]) -> None:
    """Write vocab.json and merges.txt."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(merge) for merge in merges)]
    (directory / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_json(path: Path, content: object) -> None:
    """Write ``content`` as JSON."""
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def byte_level_metadata(*special: str) -> dict[str, Any]:
    """tokenizer.ggml.* of a byte-level vocabulary, ``special`` as control tokens."""
    vocabulary, merges = byte_level_vocabulary(*special)
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    return {
        "model": "gpt2",
        "pre": "gpt-2",
        "tokens": tokens,
        "token_type": [CONTROL if token in special else NORMAL for token in tokens],
        "merges": [" ".join(merge) for merge in merges],
    }


def sentencepiece_metadata() -> dict[str, Any]:
    """tokenizer.ggml.* of a SentencePiece BPE vocabulary with byte fallback and two user-defined tokens."""
    pieces = _sentencepiece_pieces()
    control, own, byte = ["<unk>", "<s>", "</s>"], ["  ", "<table>"], [f"<0x{value:02X}>" for value in range(256)]
    return {
        "model": "llama",
        "pre": "default",
        "tokens": [*control, *own, *byte, *pieces],
        "scores": [-1000.0] * 5 + [0.0] * 256 + [-float(rank) for rank in range(len(pieces))],
        "token_type": [UNKNOWN, CONTROL, CONTROL, *[USER_DEFINED] * 2, *[BYTE] * 256, *[NORMAL] * len(pieces)],
        "unknown_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }


@cache
def _sentencepiece_pieces() -> list[str]:
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    vocabulary, _ = _trained(backend, [])
    # Each Chinese sentence is one word to the trainer; without the emoji there is something to fall back for.
    return [token for token in sorted(vocabulary, key=vocabulary.__getitem__) if "🙂" not in token]


def write_gguf(path: Path, metadata: dict[str, Any], *, chat_template: str | None = None) -> Path:
    """Write a GGUF file that holds a tokenizer and a small llama's numbers, and no tensors."""
    writer = gguf.GGUFWriter(path, "llama")
    for name, number in {
        "block_count": 1,
        "context_length": 64,
        "embedding_length": 8,
        "feed_forward_length": 16,
        "attention.head_count": 2,
        "vocab_size": len(metadata.get("tokens", ())),
    }.items():
        writer.add_uint32(f"llama.{name}", number)
    writer.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-5)
    for key, value in metadata.items():
        _add(writer, f"tokenizer.ggml.{key}", value)
    if chat_template is not None:
        writer.add_chat_template(chat_template)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add(writer: gguf.GGUFWriter, key: str, value: Any) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, value)
