"""transformers' models and tokenizers of the same weights, loaded once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import gguf
import numpy as np
import torch
import transformers

from gptapps.model_store import DEFAULT_MODEL, resolve


class PlainReader(gguf.GGUFReader):
    """gguf's reader over a plain array: a memmap costs several times as much at each of a million fields."""

    @property
    def data(self) -> Any:
        """The file's bytes."""
        return self._data

    @data.setter
    def data(self, mapped: Any) -> None:
        self._data = np.asarray(mapped)


@contextmanager
def quick_gguf_files() -> Iterator[None]:
    """Let transformers read the fields of a GGUF file once, and quickly, where it reads them two or three times."""
    with patch("gguf.GGUFReader", lru_cache(maxsize=1)(PlainReader)):
        yield


def their_default_model() -> Any:
    """Return the default model as transformers reads it from the GGUF file, in float32."""
    return their_model(resolve(DEFAULT_MODEL).path)


@lru_cache(maxsize=2)
def their_model(path: Path) -> Any:
    """Return the model of a GGUF file as transformers reads it, in float32."""
    transformers.utils.logging.disable_progress_bar()
    with quick_gguf_files():
        return transformers.AutoModelForCausalLM.from_pretrained(
            path.parent, gguf_file=path.name, dtype=torch.float32
        ).eval()


def their_tokenizer(path: Path) -> Any:
    """Return the tokenizer of a GGUF file as transformers reads it."""
    with quick_gguf_files():
        return transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
