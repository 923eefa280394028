"""A tokenizer from a directory in the Hugging Face layout.

tokenizer.json says everything about encoding. Older checkpoints have vocab.json and merges.txt instead, for one
of two schemes: GPT-2's byte-level BPE, or GPT-1's BPE over lower-cased words, which closes words with ``</w>``.
The files beside them tell which tokens are special and what ends a generation.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import tokenizers
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers

from gptapps.errors import CheckpointError, ModelNotFoundError, UnsupportedModelError
from gptapps.tokenization.parts import TokenizerParts
from gptapps.tokenization.special_tokens import add_missing_tokens, role_tokens, special, surround

_END_OF_TEXT = "<|endoftext|>"
_UNKNOWN = "<unk>"
_VOCABULARY_FILES = (
    ("vocab.json", "merges.txt"),
    ("encoder.json", "vocab.bpe"),  # as GPT-2 was published
    ("encoder_bpe_40000.json", "vocab_40000.bpe"),  # as GPT-1 was
)


def read_directory(directory: Path) -> TokenizerParts:
    """Read the tokenizer that lies in ``directory``.

    Raises:
        ModelNotFoundError: no such directory, or no tokenizer in it.
        CheckpointError: a file that can't be read as what its name promises.
        UnsupportedModelError: only a SentencePiece model file.
    """
    if not directory.is_dir():
        raise ModelNotFoundError(f"There is no directory {directory} to read a tokenizer from: check the path.")
    settings = _json_object(directory / "special_tokens_map.json")
    settings |= _json_object(directory / "tokenizer_config.json")
    named = role_tokens(settings)
    tokenizer_json = directory / "tokenizer.json"
    if tokenizer_json.is_file():
        backend = _read_tokenizer_json(tokenizer_json)
    else:
        backend, implied = _read_vocabulary(directory, settings)
        named = implied | named
    add_missing_tokens(backend, _declared_tokens(directory, settings))
    add_missing_tokens(backend, map(special, named.values()))
    # tokenizer.json says itself what goes around a text; settings that disagree with it are leftovers.
    if not tokenizer_json.is_file():
        surround(
            backend,
            bos=named.get("bos_token") if settings.get("add_bos_token") else None,
            eos=named.get("eos_token") if settings.get("add_eos_token") else None,
        )
    return TokenizerParts(
        backend=backend,
        special_tokens=named,
        extra_eos_ids=_generation_eos_ids(directory),
        chat_template=_chat_template(directory, settings),
        source=str(directory),
    )


def _read_tokenizer_json(path: Path) -> tokenizers.Tokenizer:
    try:
        backend = tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises plain Exception
        raise CheckpointError(f"{path} is no tokenizer file ({error}): fetch it again.") from error
    # Batches are padded and texts cut where it is known what for, and never by the shared tokenizer.
    backend.no_padding()
    backend.no_truncation()
    return backend


def _read_vocabulary(directory: Path, settings: Mapping[str, Any]) -> tuple[tokenizers.Tokenizer, dict[str, str]]:
    pairs = ((directory / vocabulary, directory / merges) for vocabulary, merges in _VOCABULARY_FILES)
    path, merges_path = next((both for both in pairs if all(one.is_file() for one in both)), (None, None))
    if path is None or merges_path is None:
        _refuse_incomplete(directory)
    vocabulary = _json_object(path)
    if not vocabulary or not all(isinstance(token_id, int) for token_id in vocabulary.values()):
        raise CheckpointError(f"{path} is no vocabulary, an object of token and id: fetch it again.")
    merges = _read_merges(merges_path)
    # GPT-1 spells the end of a word in the token, and GPT-2's byte alphabet has no such spelling.
    word_end = any(token.endswith("</w>") for token in vocabulary)
    try:
        if word_end:
            backend = _word_end_backend(vocabulary, merges)
            return backend, {"unk_token": _UNKNOWN} if _UNKNOWN in vocabulary else {}
        backend = _byte_level_backend(vocabulary, merges, bool(settings.get("add_prefix_space")))
    except Exception as error:  # the library raises plain Exception
        raise CheckpointError(f"{merges_path} doesn't fit {path.name} ({error}): fetch both again.") from error
    if _END_OF_TEXT not in vocabulary:
        return backend, {}
    return backend, dict.fromkeys(("bos_token", "eos_token", "unk_token"), _END_OF_TEXT)


def _refuse_incomplete(directory: Path) -> NoReturn:
    if (directory / "tokenizer.model").is_file():
        raise UnsupportedModelError(
            f"{directory} has its tokenizer only as the SentencePiece file tokenizer.model: "
            "load it with transformers' AutoTokenizer once and save it, which writes the tokenizer.json needed."
        )
    raise ModelNotFoundError(
        f"There is no tokenizer in {directory}: it needs tokenizer.json, or vocab.json and merges.txt."
    )


def _byte_level_backend(
    vocabulary: dict[str, int], merges: list[tuple[str, str]], add_prefix_space: bool
) -> tokenizers.Tokenizer:
    backend = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    backend.decoder = decoders.ByteLevel()
    return backend


def _word_end_backend(vocabulary: dict[str, int], merges: list[tuple[str, str]]) -> tokenizers.Tokenizer:
    unknown = _UNKNOWN if _UNKNOWN in vocabulary else None
    backend = tokenizers.Tokenizer(
        models.BPE(vocab=vocabulary, merges=merges, unk_token=unknown, end_of_word_suffix="</w>")
    )
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.BPEDecoder(suffix="</w>")
    return backend


def _read_merges(path: Path) -> list[tuple[str, str]]:
    merges = []
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if not line.strip() or (number == 1 and line.startswith("#version")):
            continue
        left, _, right = line.partition(" ")
        if not left or not right or " " in right:
            raise CheckpointError(f"{path}, line {number} is no merge, two tokens and a space: fetch it again.")
        merges.append((left, right))
    return merges


def _declared_tokens(directory: Path, settings: Mapping[str, Any]) -> list[AddedToken]:
    declared = settings.get("added_tokens_decoder") or {}
    added = _json_object(directory / "added_tokens.json")
    try:
        tokens = [
            AddedToken(
                entry["content"],
                single_word=bool(entry.get("single_word")),
                lstrip=bool(entry.get("lstrip")),
                rstrip=bool(entry.get("rstrip")),
                normalized=bool(entry.get("normalized")),
                special=bool(entry.get("special")),
            )
            for _, entry in sorted(declared.items(), key=lambda item: int(item[0]))
        ]
        tokens += [AddedToken(token) for token in sorted(added, key=lambda token: int(added[token]))]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"The added tokens in tokenizer_config.json or added_tokens.json of {directory} can't be read "
            f"({error!r}): fetch both again."
        ) from error
    return tokens


def _generation_eos_ids(directory: Path) -> tuple[int, ...]:
    # Checkpoints older than generation_config.json name the id in config.json.
    path = directory / "generation_config.json"
    if not path.is_file():
        path = directory / "config.json"
    found = _json_object(path).get("eos_token_id")
    ids = [] if found is None else found if isinstance(found, list) else [found]
    if not all(isinstance(token_id, int) for token_id in ids):
        raise CheckpointError(f"{path}: eos_token_id is {found!r}, and has to be an id or a list of ids.")
    return tuple(ids)


def _chat_template(directory: Path, settings: Mapping[str, Any]) -> str | None:
    path = directory / "chat_template.jinja"
    if path.is_file():
        return _text(path)
    template = settings.get("chat_template")
    if isinstance(template, list):
        named = {entry.get("name"): entry.get("template") for entry in template if isinstance(entry, dict)}
        template = named.get("default")
    return template if isinstance(template, str) else None


def _json_object(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = json.loads(_text(path))
    except json.JSONDecodeError as error:
        raise CheckpointError(
            f"{path}, line {error.lineno}, column {error.colno} is no JSON ({error.msg}): fetch the file again."
        ) from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} has to hold a JSON object: fetch the file again.")
    return content


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} can't be read ({error}): fetch the file again.") from error
