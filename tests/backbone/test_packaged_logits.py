"""The packaged models' own files: logits of transformers' GGUF reader, and how fast they load."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch
from peers import their_model
from torch import Tensor

from gptapps.backbone.kv_cache import KVCache
from gptapps.heads.loading import load_language_model
from gptapps.model_store import DEFAULT_MODEL, derived_directory, resolve


def prompts(vocabulary: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(1000, vocabulary, (1, length), generator=generator) for length in (1, 17, 700)]


def same_logits(name: str, tolerance: float) -> None:
    local = resolve(name, offline=True)
    backbone, head = load_language_model(local.path, derived=derived_directory(local))
    theirs = their_model(local.path)
    for tokens in prompts(backbone.config.vocabulary_size):
        expected = theirs(input_ids=tokens, logits_to_keep=8).logits
        torch.testing.assert_close(head(backbone(tokens)[:, -8:]), expected, atol=tolerance, rtol=0)
        rows = KVCache(backbone.config).add_rows(1)
        states = [backbone(piece, cache=rows) for piece in tokens.split(100, 1)]
        torch.testing.assert_close(head(states[-1][:, -1:]), expected[:, -1:], atol=tolerance, rtol=0)


@pytest.mark.usefixtures("default_gguf")
def test_the_default_model() -> None:
    same_logits(DEFAULT_MODEL, 1e-4)


@pytest.mark.usefixtures("gemma_gguf")
def test_gemma_past_its_window() -> None:
    # Local layers look back 512 tokens. Logits reach 55, where 2e-4 is the last two digits of float32.
    same_logits("gemma-3-270m", 1e-3)


def test_the_default_model_loads_at_once(default_gguf: Path) -> None:
    derived = derived_directory(resolve(DEFAULT_MODEL))
    load_language_model(default_gguf, derived=derived)
    started = time.process_time()
    backbone, _ = load_language_model(default_gguf, derived=derived)
    assert time.process_time() - started < 0.5
    assert backbone.config.layers == 30
