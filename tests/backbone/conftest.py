"""Tiny models, each made once."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from tiny_models import TinyModel, make_tiny


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], TinyModel]:
    """Return the tiny model of a case by its name."""
    made: dict[str, TinyModel] = {}

    def model_of(name: str) -> TinyModel:
        if name not in made:
            made[name] = make_tiny(name, tmp_path_factory.mktemp(name))
        return made[name]

    return model_of


@pytest.fixture
def copied(tiny: Callable[[str], TinyModel], tmp_path: Path) -> Callable[[str], Path]:
    """Copy the directory of a tiny model to where a test may break it."""

    def copy(name: str) -> Path:
        directory = tmp_path / name
        shutil.copytree(tiny(name).directory, directory)
        return directory

    return copy


@pytest.fixture(autouse=True)
def light_inference() -> Iterator[None]:
    """Run without gradients and on one thread: for tiny models, waking a second takes longer than the work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.no_grad():
        yield
    torch.set_num_threads(threads)
