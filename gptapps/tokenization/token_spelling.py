"""The bytes a token stands for.

A vocabulary writes its tokens in one of three spellings, and its decoder tells which:

* byte-level (GPT-2 and later): each character of the token is one byte, through a fixed table;
* SentencePiece (Llama 2, Gemma): "▁" is a space, and ``<0xE4>`` is a byte no token covers;
* word-end (GPT-1): ``</w>`` closes a word.
"""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any, Literal

Spelling = Literal["byte_level", "sentencepiece", "word_end", "verbatim"]

_BYTE_TOKEN = re.compile(r"<0x([0-9A-F]{2})>")
_WORD_END = "</w>"


def spelling_of(decoder: Any) -> Spelling:
    """Return the spelling that ``decoder``, one of ``tokenizers.decoders`` or None, undoes."""
    kinds = set() if decoder is None else _kinds(json.loads(decoder.__getstate__()))
    if "ByteLevel" in kinds:
        return "byte_level"
    if "BPEDecoder" in kinds:
        return "word_end"
    return "sentencepiece" if kinds & {"Replace", "Metaspace", "ByteFallback"} else "verbatim"


def spelled_bytes(token: str, spelling: Spelling) -> bytes:
    """Return the bytes ``token`` stands for.

    Example:
        >>> spelled_bytes("Ġcat", "byte_level")
        b' cat'
    """
    if spelling == "byte_level":
        table = byte_of_character()
        # A token with a character outside the table was added to the vocabulary as plain text.
        return bytes(table[c] for c in token) if all(c in table for c in token) else token.encode()
    if spelling == "sentencepiece":
        byte = byte_token_value(token)
        return bytes([byte]) if byte is not None else token.replace("▁", " ").encode()
    if spelling == "word_end":
        return token.replace(_WORD_END, " ").encode()
    return token.encode()


def byte_token_value(token: str) -> int | None:
    """Return 0xE4 for ``"<0xE4>"``, and None for a token that isn't of that form."""
    match = _BYTE_TOKEN.fullmatch(token)
    return int(match[1], 16) if match else None


@cache
def byte_of_character() -> dict[str, int]:
    """Return GPT-2's table: printable Latin-1 bytes stand for themselves, the others follow from U+0100."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(0x100) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + i): byte for i, byte in enumerate(others)}


def _kinds(state: dict[str, Any]) -> set[str]:
    inner = (_kinds(part) for part in state.get("decoders", ()))
    return {state["type"]}.union(*inner)
