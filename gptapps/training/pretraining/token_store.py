"""Texts as one long row of token ids on the disk, mapped into memory.

Symbols: N tokens of all texts, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gptapps.backbone.safetensors_files import read_json, write_json
from gptapps.cache_files import new_folder
from gptapps.tokenization.tokenizer import Tokenizer
from gptapps.training.pretraining.vocabulary import pieces

_IDS, _ABOUT = "ids.bin", "about.json"

Ids = NDArray[np.integer]
"""(N,) token ids."""


@dataclass(frozen=True, slots=True, eq=False)
class TokenStore:
    """Texts one behind the other, a token that begins each in front of it.

    Attributes:
        ids: (N,) uint16 or uint32, mapped.
        texts: how many.
    """

    ids: Ids
    texts: int


def ends_of(tokenizer: Tokenizer) -> tuple[int, tuple[int, ...]]:
    """Return the id that stands in front of each text, and those that stand behind it."""
    start = tokenizer.start_id
    return start, tuple(one for one in tokenizer.eos_ids[:1] if one != start)


def kept_tokens(
    folder: Path,
    texts: Sequence[str],
    tokenizer: Tokenizer,
    told: Callable[[str, int, int], None] | None = None,
) -> TokenStore:
    """Return the tokens that a folder keeps, made and put there where they aren't yet.

    Args:
        folder: appears at once.
        texts: one at least.
        tokenizer: whose special tokens begin and end each text.
        told: how many texts are done.
    """
    if not folder.is_dir():
        kind = np.dtype("<u2" if tokenizer.vocabulary_size <= 1 << 16 else "<u4")
        start, end = ends_of(tokenizer)
        with new_folder(folder) as aside, (aside / _IDS).open("wb") as file:
            for number, text in enumerate(texts, 1):
                np.asarray([start], kind).tofile(file)
                for piece in pieces(text):
                    np.asarray(tokenizer.encode(piece, special_tokens=False), kind).tofile(file)
                np.asarray(end, kind).tofile(file)
                if told is not None:
                    told("tokens", number, len(texts))
            if not end:
                np.asarray([start], kind).tofile(file)
            write_json(aside / _ABOUT, {"type": kind.str, "texts": len(texts)})
    return read_tokens(folder)


def read_tokens(folder: Path) -> TokenStore:
    """Return the tokens that a folder keeps."""
    about = read_json(folder / _ABOUT)
    return TokenStore(np.memmap(folder / _IDS, dtype=np.dtype(about["type"]), mode="r"), about["texts"])


def token_sizes(tokenizer: Tokenizer) -> Ids:
    """Return (V,) how many bytes each token stands for, 0 for special ones."""
    return np.array([len(tokenizer.token_bytes(token)) for token in range(tokenizer.vocabulary_size)])
