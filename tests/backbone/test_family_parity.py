"""Every family against transformers with the same weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from equality import assert_same_tokens
from tiny_models import CASES, TOKENS, TinyModel, random_tokens
from transformers import AutoModelForCausalLM

from gptapps.backbone.kv_cache import KVCache
from gptapps.heads.loading import load_language_model, save_language_model

TOLERANCE = 1e-4  # the design's, for logits in float32


@pytest.mark.parametrize("name", CASES)
def test_logits_are_those_of_transformers(name: str, tiny: Callable[[str], TinyModel]) -> None:
    model = tiny(name)
    tokens = random_tokens(3, TOKENS)
    expected = model.their_logits(tokens)
    assert expected.std() > 0.1  # the model says something
    torch.testing.assert_close(model.our_logits(tokens), expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("name", CASES)
def test_greedy_tokens_are_those_of_transformers(name: str, tiny: Callable[[str], TinyModel]) -> None:
    model = tiny(name)
    prompt = random_tokens(1, 8, seed=1)
    new = TOKENS - 8
    model.theirs(input_ids=prompt[:, :1])
    generated = model.theirs.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        max_new_tokens=new,
        do_sample=False,
        output_logits=True,
        return_dict_in_generate=True,
    )
    cache = KVCache(model.backbone.config)
    rows = cache.add_rows(1)
    tokens, ours = prompt, []
    for _ in range(new):
        tokens = model.head(model.backbone(tokens, cache=rows)[:, -1:]).argmax(-1)
        ours.append(int(tokens))
    compared = assert_same_tokens(ours, generated.sequences[0, 8:].tolist(), torch.cat(generated.logits))
    assert compared >= 4


@pytest.mark.parametrize("name", CASES)
def test_padded_in_a_mixed_batch_is_transformers_alone(name: str, tiny: Callable[[str], TinyModel]) -> None:
    model = tiny(name)
    lengths = [TOKENS, 3, 11]
    tokens = random_tokens(3, TOKENS, seed=2)
    logits = model.head(model.backbone(tokens, lengths=lengths))
    for row, length in enumerate(lengths):
        alone = model.their_logits(tokens[row : row + 1, :length])
        torch.testing.assert_close(logits[row : row + 1, :length], alone, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("name", CASES)
def test_transformers_loads_what_is_saved(name: str, tiny: Callable[[str], TinyModel], tmp_path: Path) -> None:
    model = tiny(name)
    tokens = random_tokens(2, TOKENS, seed=3)
    save_language_model(model.backbone, model.head, tmp_path)
    reloaded, report = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values())
    assert type(reloaded) is type(model.theirs)
    torch.testing.assert_close(reloaded(input_ids=tokens).logits, model.their_logits(tokens), atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("name", CASES)
def test_what_is_saved_loads_here_unchanged(name: str, tiny: Callable[[str], TinyModel], tmp_path: Path) -> None:
    model = tiny(name)
    save_language_model(model.backbone, model.head, tmp_path)
    backbone, head = load_language_model(tmp_path)
    assert backbone.config == model.backbone.config
    tensors = model.backbone.state_dict() | model.head.state_dict()
    for key, tensor in (backbone.state_dict() | head.state_dict()).items():
        torch.testing.assert_close(tensor, tensors[key], atol=1e-6, rtol=0)
