"""A tiny model with the default model's tokenizer, so that laws are checked in milliseconds."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import nullcontext

import pytest
import torch
from tiny_language_model import one_thread

from gptapps.backbone.config import Activation, AttentionConfig, FeedForwardConfig, GPTConfig, Norm, NormConfig, Wiring
from gptapps.backbone.gpt import GPTBackbone
from gptapps.backbone.rotary import RotaryConfig
from gptapps.decoding.language_model import LanguageModel
from gptapps.heads.language_model import LanguageModelHead


@pytest.fixture(scope="session")
def tiny_model(default_model: LanguageModel) -> LanguageModel:
    """Two layers of random weights, large enough that no two logits are near each other by chance."""
    config = GPTConfig(
        family="llama",
        vocabulary_size=default_model.tokenizer.vocabulary_size,
        context_length=128,
        channels=32,
        layers=2,
        attention=AttentionConfig(heads=4, kv_heads=2, head_size=8, scale=8**-0.5),
        feed_forward=FeedForwardConfig(size=64, activation=Activation.SILU, gated=True, bias=False),
        norm=NormConfig(Norm.RMS, 1e-5),
        wiring=Wiring.PRE_NORM,
        windows=(None, 24),
        rotary=RotaryConfig(base=10000.0, size=8),
    )
    torch.manual_seed(0)
    backbone = GPTBackbone(config)
    for parameter in backbone.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return LanguageModel("tiny", backbone.eval(), LanguageModelHead(backbone).eval(), default_model.tokenizer)


@pytest.fixture(autouse=True)
def _one_thread(request: pytest.FixtureRequest) -> Iterator[None]:
    """Matrices of the tiny model are too small for a second thread."""
    with one_thread() if "tiny_model" in request.fixturenames else nullcontext():
        yield


@pytest.fixture
def words() -> random.Random:
    """A source of random prompts."""
    return random.Random(0)
