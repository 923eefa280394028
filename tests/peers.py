"""transformers' models of the same weights, loaded once."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import transformers

from gptapps.model_store import DEFAULT_MODEL, resolve


def their_default_model() -> Any:
    """Return the default model as transformers reads it from the GGUF file, in float32."""
    return their_model(resolve(DEFAULT_MODEL).path)


@lru_cache(maxsize=2)
def their_model(path: Path) -> Any:
    """Return the model of a GGUF file as transformers reads it, in float32."""
    transformers.utils.logging.disable_progress_bar()
    return transformers.AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32
    ).eval()
