"""The packaged models' own files: logits of transformers' GGUF reader, and that they are widened once."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import pytest
import torch
from torch import Tensor

from gptapps.backbone.kv_cache import KVCache
from gptapps.heads.loading import load_language_model
from gptapps.model_store import DEFAULT_MODEL, derived_directory, resolve
from tests.peers import their_model


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


def test_the_default_model_is_widened_once(default_gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    derived = derived_directory(resolve(DEFAULT_MODEL))
    first, _ = load_language_model(default_gguf, derived=derived)

    def read_again(path: Path) -> NoReturn:
        raise AssertionError(f"{path} is read again")

    monkeypatch.setattr("gptapps.backbone.gguf_checkpoint.read_gguf", read_again)
    second, _ = load_language_model(default_gguf, derived=derived)
    assert second.config == first.config
    assert torch.equal(second.token_embedding.weight, first.token_embedding.weight)
