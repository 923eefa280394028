"""Tiny random models of the default model's vocabulary."""

from __future__ import annotations

import pytest
from tiny_language_model import one_thread, write_tiny_model

from gptapps.decoding.language_model import LanguageModel


@pytest.fixture(scope="session")
def tiny_chat(tmp_path_factory: pytest.TempPathFactory, default_model: LanguageModel) -> LanguageModel:
    """A model with a chat template."""
    return LanguageModel.load(str(write_tiny_model(tmp_path_factory.mktemp("chat"), default_model.tokenizer)))


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory, default_model: LanguageModel) -> LanguageModel:
    """A model without one."""
    folder = write_tiny_model(tmp_path_factory.mktemp("base"), default_model.tokenizer, chat=False)
    return LanguageModel.load(str(folder))


@pytest.fixture
def light():
    """Use one thread."""
    with one_thread():
        yield
