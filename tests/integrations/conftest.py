"""The harness's own ``hf`` backend beside ours, on the same directory, and requests as the harness makes them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from backends import Requests, their_backend
from tiny_language_model import write_tiny_model

from gptapps.decoding.language_model import LanguageModel

os.environ.setdefault("HF_DATASETS_OFFLINE", "1")  # read when the harness imports datasets


@pytest.fixture(scope="session")
def tiny_directory(default_model: LanguageModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model with a context of 96 tokens, on disk."""
    return write_tiny_model(tmp_path_factory.mktemp("tiny"), default_model.tokenizer, context_length=96)


@pytest.fixture(scope="session")
def theirs(tiny_directory: Path) -> Any:
    """The ``hf`` backend on the tiny model."""
    return their_backend(tiny_directory, batch_size=3)


@pytest.fixture(scope="session")
def ours(tiny_directory: Path) -> Any:
    """Our backend on the tiny model."""
    from gptapps.lm_eval import GPTAppsLM

    return GPTAppsLM(str(tiny_directory), device="cpu", dtype="float32", batch_size=3)


@pytest.fixture(scope="session")
def requests_of() -> Requests:
    """Make the harness's requests of a kind from their arguments."""
    from lm_eval.api.instance import Instance

    def made(kind: str, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        return [Instance(kind, {}, args, number) for number, args in enumerate(arguments)]  # type: ignore[arg-type]

    return made
