"""Soft prompts against peft: what one writes the other reads, and the model says the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import peft
import pytest
import torch
from tiny_models import CASES, TinyModel, make_theirs, random_tokens
from torch import Tensor

from gptapps.backbone.kv_cache import KVCache
from gptapps.backbone.peft_files import ADAPTER_CONFIG
from gptapps.backbone.virtual_tokens import install_virtual_tokens, read_virtual_tokens, write_virtual_tokens
from gptapps.errors import CheckpointError, UnsupportedModelError
from gptapps.heads.language_model import LanguageModelHead
from gptapps.heads.loading import load_language_model

VIRTUAL, TOKENS = 3, 8

pytestmark = [
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:Position ids are not supported:UserWarning"),
]


def logits_behind(directory: Path, folder: Path, tokens: Tensor, *, cached: bool = False) -> Tensor:
    backbone, head = load_language_model(directory)
    ids = install_virtual_tokens(backbone, read_virtual_tokens(folder, backbone.config))
    whole = torch.cat((torch.tensor(ids).expand(len(tokens), -1), tokens), 1)
    if not cached:
        logits: Tensor = head(backbone(whole))
        return logits
    rows = KVCache(backbone.config).add_rows(len(tokens))
    return torch.cat([head(backbone(part, cache=rows)) for part in whole.split(4, 1)], 1)


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma3"])
def test_what_peft_writes_loads_here(name: str, tiny: Callable[[str], TinyModel], tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = peft.PromptTuningConfig(num_virtual_tokens=VIRTUAL, task_type="CAUSAL_LM")
    theirs = peft.get_peft_model(make_theirs(*CASES[name]), config).eval()
    theirs.save_pretrained(tmp_path)
    tokens = random_tokens(2, TOKENS)
    expected = theirs(input_ids=tokens, attention_mask=torch.ones_like(tokens)).logits
    for cached in (False, True):
        ours = logits_behind(tiny(name).directory, tmp_path, tokens, cached=cached)
        torch.testing.assert_close(ours[:, -TOKENS:], expected[:, -TOKENS:], atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["llama", "gemma3"])
def test_peft_loads_what_is_written(name: str, tiny: Callable[[str], TinyModel], tmp_path: Path) -> None:
    config = tiny(name).backbone.config
    virtual = torch.randn(VIRTUAL, config.channels, generator=torch.Generator().manual_seed(1))
    write_virtual_tokens(virtual, tmp_path, config, base="tiny")
    theirs = peft.PeftModel.from_pretrained(make_theirs(*CASES[name]), tmp_path).eval()
    tokens = random_tokens(2, TOKENS)
    expected = theirs(input_ids=tokens, attention_mask=torch.ones_like(tokens)).logits
    ours = logits_behind(tiny(name).directory, tmp_path, tokens)
    torch.testing.assert_close(ours[:, -TOKENS:], expected[:, -TOKENS:], atol=1e-4, rtol=0)


def test_a_tied_head_scores_the_vocabulary_only(tiny: Callable[[str], TinyModel]) -> None:
    backbone, _ = load_language_model(tiny("gemma3").directory)
    install_virtual_tokens(backbone, torch.zeros(VIRTUAL, backbone.config.channels))
    head = LanguageModelHead(backbone)
    assert head(torch.zeros(1, backbone.config.channels)).shape[1] == backbone.config.vocabulary_size


def test_another_models_prompt_is_refused(tiny: Callable[[str], TinyModel], tmp_path: Path) -> None:
    config = tiny("llama").backbone.config
    write_virtual_tokens(torch.zeros(VIRTUAL, config.channels + 1), tmp_path, config)
    with pytest.raises(CheckpointError, match="channels"):
        read_virtual_tokens(tmp_path, config)
    values = json.loads((tmp_path / ADAPTER_CONFIG).read_text())
    (tmp_path / ADAPTER_CONFIG).write_text(json.dumps(values | {"peft_type": "PREFIX_TUNING"}))
    with pytest.raises(UnsupportedModelError, match="peft_type"):
        read_virtual_tokens(tmp_path, config)
