"""A scripted task and tiny models, so that evaluations take no time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from scripted import ScriptedPipeline, scripted_model, write_definition, write_rows
from tiny_language_model import write_tiny_model

from gptapps.decoding.language_model import LanguageModel
from gptapps.registry import PIPELINES


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run below the test's own folder: runs without a folder of their own go there."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def scripted() -> Iterator[type[ScriptedPipeline]]:
    """The scripted pipeline, registered, with nothing labelled yet."""
    PIPELINES.register("scripted", ScriptedPipeline)
    ScriptedPipeline.labelled = ()
    yield ScriptedPipeline
    PIPELINES.unregister("scripted")


@pytest.fixture
def task(tmp_path: Path, scripted: type[ScriptedPipeline]) -> str:
    """The path of the scripted task's definition."""
    return write_definition(tmp_path)


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Thirty rows for the scripted task."""
    return write_rows(tmp_path, 30)


@pytest.fixture(scope="session")
def model() -> LanguageModel:
    """A model that is only looked at."""
    return scripted_model()


@pytest.fixture(scope="session")
def tiny_chat(tmp_path_factory: pytest.TempPathFactory, default_model: LanguageModel) -> LanguageModel:
    """A tiny random model with a chat template."""
    return LanguageModel.load(str(write_tiny_model(tmp_path_factory.mktemp("chat"), default_model.tokenizer)))


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory, default_model: LanguageModel) -> LanguageModel:
    """A tiny random model without a chat template."""
    folder = write_tiny_model(tmp_path_factory.mktemp("base"), default_model.tokenizer, chat=False)
    return LanguageModel.load(str(folder))
