"""How much is written, by models whose context holds less than a task asks for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gptapps import pipeline
from gptapps.decoding.language_model import LanguageModel
from gptapps.errors import OptionError


@pytest.fixture
def short(plain_tiny: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> LanguageModel:
    """A model that holds 32 tokens."""
    config = replace(plain_tiny.backbone.config, context_length=32)
    monkeypatch.setattr(plain_tiny.backbone, "config", config)
    return plain_tiny


def test_a_small_context_leaves_a_half_to_the_prompt(short: LanguageModel) -> None:
    written = pipeline("generate", model=short)("It was")
    assert 0 < written.usage.output_tokens <= 16


def test_a_number_that_was_asked_for_is_refused_where_it_is_too_large(short: LanguageModel) -> None:
    for asked, called in (({"max_new_tokens": 32}, {}), ({}, {"max_new_tokens": 32})):
        with pytest.raises(OptionError, match="max_new_tokens is 32, but the model holds 32 tokens"):
            pipeline("generate", model=short, **asked)("It was", **called)
