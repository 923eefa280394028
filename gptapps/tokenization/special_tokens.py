"""Tokens that stand for no text: begin, end, padding and their like."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import tokenizers
from tokenizers import AddedToken, processors

ROLES = ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token")
"""The names under which tokenizer_config.json and chat templates know special tokens."""


def add_missing_tokens(backend: tokenizers.Tokenizer, tokens: Iterable[AddedToken]) -> None:
    """Add to ``backend`` those of ``tokens`` that it doesn't match whole yet.

    A token the vocabulary holds keeps its id, a new one gets the next free id.
    """
    present = {token.content for token in backend.get_added_tokens_decoder().values()}
    missing = [token for token in tokens if token.content not in present]
    backend.add_special_tokens([token for token in missing if token.special])
    backend.add_tokens([token for token in missing if not token.special])


def special(content: str) -> AddedToken:
    """Return a special token that is found in a text exactly as it is written."""
    return AddedToken(content, special=True, normalized=False)


def surround(backend: tokenizers.Tokenizer, *, bos: str | None, eos: str | None) -> None:
    """Make ``backend`` put ``bos`` before and ``eos`` after a text; None puts nothing there.

    Both have to be in the vocabulary already.
    """
    around = [token for token in (bos, eos) if token is not None]
    before = [bos] if bos is not None else []
    after = [eos] if eos is not None else []
    backend.post_processor = processors.TemplateProcessing(
        single=[*before, "$A", *after],
        pair=[*before, "$A", *after, *before, "$B", *after],
        special_tokens=[(token, backend.token_to_id(token)) for token in dict.fromkeys(around)],
    )


def role_tokens(declared: Mapping[str, object]) -> dict[str, str]:
    """Return role -> token for the roles ``declared`` fills, as a string or as ``{"content": ...}``."""
    named: dict[str, str] = {}
    for role in ROLES:
        token = declared.get(role)
        content = token.get("content") if isinstance(token, Mapping) else token
        if isinstance(content, str) and content:
            named[role] = content
    return named
