"""What a tokenizer is made of, whichever files it was read from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import tokenizers


@dataclass(frozen=True, slots=True)
class TokenizerParts:
    """The pieces :class:`~gptapps.tokenization.tokenizer.Tokenizer` is built from.

    Attributes:
        backend: does the encoding and decoding; nobody else may hold it, and it neither pads nor truncates.
        special_tokens: role -> token, such as ``{"bos_token": "<s>"}``; chat templates see these names.
        extra_eos_ids: ids that end a generation besides the one of ``eos_token``.
        chat_template: jinja2 source, or None for a model without one.
        source: the directory or file all of this was read from, for messages.
    """

    backend: tokenizers.Tokenizer
    special_tokens: Mapping[str, str]
    extra_eos_ids: tuple[int, ...]
    chat_template: str | None
    source: str
