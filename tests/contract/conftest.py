"""Tiny models for the contract: one that chats and one that doesn't, with a context that a few paragraphs fill."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_language_model import one_thread, write_tiny_model

from gptapps.decoding.language_model import LanguageModel


@pytest.fixture(scope="session")
def chat_model(tmp_path_factory: pytest.TempPathFactory, default_model: LanguageModel) -> LanguageModel:
    """A tiny model with a chat template and a short context."""
    return _tiny(tmp_path_factory.mktemp("chat"), default_model, context_length=640, chat=True)


@pytest.fixture(scope="session")
def plain_model(tmp_path_factory: pytest.TempPathFactory, default_model: LanguageModel) -> LanguageModel:
    """A tiny model without a chat template, whose context holds the worked examples as well."""
    return _tiny(tmp_path_factory.mktemp("plain"), default_model, context_length=1280, chat=False)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


def _tiny(folder: Path, default: LanguageModel, *, context_length: int, chat: bool) -> LanguageModel:
    write_tiny_model(folder, default.tokenizer, context_length=context_length, chat=chat)
    return LanguageModel.load(str(folder), device="cpu")
