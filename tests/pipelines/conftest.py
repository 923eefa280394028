"""A tiny model for the pipelines, whose context a few paragraphs fill."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext

import pytest
from tiny_language_model import one_thread, write_tiny_model

from gptapps.decoding.language_model import LanguageModel


@pytest.fixture(scope="session")
def plain_tiny(tmp_path_factory: pytest.TempPathFactory, default_model: LanguageModel) -> LanguageModel:
    """A model of random weights that holds 640 tokens and doesn't chat."""
    folder = tmp_path_factory.mktemp("plain")
    write_tiny_model(folder, default_model.tokenizer, context_length=640, chat=False)
    return LanguageModel.load(str(folder), device="cpu")


@pytest.fixture(autouse=True)
def _one_thread(request: pytest.FixtureRequest) -> Iterator[None]:
    with one_thread() if "plain_tiny" in request.fixturenames else nullcontext():
        yield
