"""A tokenizer from the metadata of a GGUF file.

The file lists tokens, their kinds and either merges (byte-level BPE, ``tokenizer.ggml.model = "gpt2"``) or scores
(SentencePiece's BPE, ``"llama"``), and names the way texts are split before merging (``tokenizer.ggml.pre``).

Source: the GGUF specification, section "Tokenizer", https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers

from gptapps.errors import CheckpointError, UnsupportedModelError
from gptapps.tokenization.merges import FIRST, derive_merges
from gptapps.tokenization.parts import TokenizerParts
from gptapps.tokenization.special_tokens import add_missing_tokens, special, surround

_NORMAL, _CONTROL, _USER_DEFINED, _UNUSED = 1, 3, 4, 5

_ROLES = {
    "bos_token": "bos_token_id",
    "eos_token": "eos_token_id",
    "unk_token": "unknown_token_id",
    "pad_token": "padding_token_id",
}

_QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_LLAMA3_SPLIT = _QWEN2_SPLIT.replace(r"|\p{N}|", r"|\p{N}{1,3}|")

_LLAMA3 = ("llama-bpe", "llama3", "llama-v3")
_QWEN2 = ("qwen2", "deepseek-r1-qwen")
_GPT2 = ("gpt-2", "default")
_SMOLLM = ("smollm",)


def read_gguf(path: Path) -> TokenizerParts:
    """Read the tokenizer that a GGUF file describes.

    Raises:
        CheckpointError: the file is damaged, a key is missing, or the lists don't fit each other.
        UnsupportedModelError: a tokenizer model or a way of splitting that gptapps doesn't know.
    """
    metadata = _Metadata(path)
    tokens: list[str] = metadata.required("tokens")
    kinds: list[int] = metadata.get("token_type", [_NORMAL] * len(tokens))
    if len(kinds) != len(tokens):
        raise CheckpointError(
            f"{metadata.source} has {len(tokens)} tokens and {len(kinds)} token types: fetch the file again."
        )
    model = metadata.required("model")
    if model == "gpt2":
        backend = _byte_level_backend(tokens, metadata)
    elif model == "llama":
        tokens = [_respelled(token) for token in tokens]
        backend = _sentencepiece_backend(tokens, kinds, metadata)
    else:
        raise UnsupportedModelError(
            f"{metadata.source} has a tokenizer of the model {model!r}, and gptapps reads 'gpt2' and 'llama' from "
            "GGUF files: use the checkpoint's Hugging Face directory instead."
        )
    add_missing_tokens(
        backend,
        [
            AddedToken(token, special=kind == _CONTROL, normalized=False)
            for token, kind in zip(tokens, kinds, strict=True)
            if kind in (_CONTROL, _USER_DEFINED)
        ],
    )
    named = {
        role: tokens[token_id]
        for role, key in _ROLES.items()
        if (token_id := metadata.token_id(key, len(tokens))) is not None
    }
    add_missing_tokens(backend, map(special, named.values()))
    # Files without the key follow llama.cpp: SentencePiece and Llama 3 begin a text with their bos token.
    adds_bos = metadata.get("add_bos_token", model == "llama" or metadata.get("pre", "") in _LLAMA3)
    surround(
        backend,
        bos=named.get("bos_token") if adds_bos else None,
        eos=named.get("eos_token") if metadata.get("add_eos_token", False) else None,
    )
    ends = [metadata.token_id(key, len(tokens)) for key in ("eot_token_id", "eom_token_id")]
    return TokenizerParts(
        backend=backend,
        special_tokens=named,
        extra_eos_ids=tuple(end for end in ends if end is not None),
        chat_template=metadata.chat_template(),
        source=metadata.source,
    )


class _Metadata:
    def __init__(self, path: Path) -> None:
        from gptapps.backbone.gguf_file import GGUFFile  # loads PyTorch, which tokenizers can do without

        self._file = GGUFFile(path)
        self.source = str(path)

    def get(self, key: str, default: Any) -> Any:
        return self._file.get(f"tokenizer.ggml.{key}", default)

    def required(self, key: str) -> Any:
        value = self.get(key, None)
        if value is None:
            raise CheckpointError(
                f"{self.source} has no tokenizer.ggml.{key}: use a GGUF file that carries its tokenizer."
            )
        return value

    def token_id(self, key: str, vocabulary_size: int) -> int | None:
        token_id: int | None = self.get(key, None)
        if token_id is not None and not 0 <= token_id < vocabulary_size:
            raise CheckpointError(
                f"{self.source}: tokenizer.ggml.{key} is {token_id}, and there are only {vocabulary_size} tokens: "
                "fetch the file again."
            )
        return token_id

    def chat_template(self) -> str | None:
        template: str | None = self._file.get("tokenizer.chat_template")
        return template


def _byte_level_backend(tokens: list[str], metadata: _Metadata) -> tokenizers.Tokenizer:
    merges = [tuple(merge.split(" ", 1)) for merge in metadata.required("merges")]
    split = metadata.get("pre", "default")
    try:
        model = models.BPE(
            vocab={token: token_id for token_id, token in enumerate(tokens)},
            merges=merges,
            ignore_merges=split in _LLAMA3,  # Llama 3 takes a word that is a token as it is
        )
    except Exception as error:  # the library raises plain Exception
        raise CheckpointError(
            f"In {metadata.source} tokenizer.ggml.merges doesn't fit the tokens ({error}): fetch the file again."
        ) from error
    backend = tokenizers.Tokenizer(model)
    backend.pre_tokenizer = _splitting(split, metadata.source)
    if split in _QWEN2:
        backend.normalizer = normalizers.NFC()
    backend.decoder = decoders.ByteLevel()
    return backend


def _splitting(name: str, source: str) -> Any:
    by_gpt2_pattern = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if name in _GPT2:
        return by_gpt2_pattern
    if name in _SMOLLM:
        return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), by_gpt2_pattern])
    if name in _LLAMA3 + _QWEN2:
        pattern = Regex(_LLAMA3_SPLIT if name in _LLAMA3 else _QWEN2_SPLIT)
        as_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        return pre_tokenizers.Sequence([pre_tokenizers.Split(pattern, behavior="isolated"), as_bytes])
    raise UnsupportedModelError(
        f"{source} splits texts by {name!r} (tokenizer.ggml.pre), which gptapps doesn't know "
        f"({', '.join(sorted(_GPT2 + _SMOLLM + _LLAMA3 + _QWEN2))}): use the checkpoint's Hugging Face directory."
    )


def _sentencepiece_backend(tokens: list[str], kinds: list[int], metadata: _Metadata) -> tokenizers.Tokenizer:
    scores: list[float] = metadata.required("scores")
    if len(scores) != len(tokens):
        raise CheckpointError(
            f"{metadata.source} has {len(tokens)} tokens and {len(scores)} scores: fetch the file again."
        )
    vocabulary = {token: token_id for token_id, token in enumerate(tokens)}
    # Converters give user-defined tokens an invented low score; SentencePiece joins these before all others.
    mergeable = {
        token: FIRST if kind == _USER_DEFINED else score
        for token, kind, score in zip(tokens, kinds, scores, strict=True)
        if kind in (_NORMAL, _USER_DEFINED, _UNUSED)
    }
    unknown = metadata.token_id("unknown_token_id", len(tokens)) or 0
    backend = tokenizers.Tokenizer(
        models.BPE(
            vocab=vocabulary,
            merges=derive_merges(vocabulary, mergeable),
            unk_token=tokens[unknown],
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    back_to_text = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    if metadata.get("add_space_prefix", True):
        backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
        back_to_text.append(decoders.Strip(content=" ", left=1))
    else:
        backend.normalizer = normalizers.Replace(" ", "▁")
    backend.decoder = decoders.Sequence(back_to_text)
    return backend


def _respelled(token: str) -> str:
    # Converters write a run of spaces as such, and texts reach the vocabulary with "▁" in their place.
    return "▁" * len(token) if token.strip(" ") == "" else token
